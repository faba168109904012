"""Events of call graphs: which promises belong, what is news, and where a client goes on."""

from __future__ import annotations

from typing import Any

import pytest

from understudy.edge.grpc.graph_events import GraphEvents, parse_position
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.native.events import OVERLAP_MS
from understudy.edge.native.problems import Problem
from understudy_store.records import (
    EMPTY,
    PENDING,
    RESOLVED,
    TAG_BRANCH,
    TAG_ORIGIN,
    TAG_PARENT,
    PromiseRecord,
)

T = 10**12


def record(
    id_: str, *, parent: str = "", origin: str = "", settled_at: int | None = None, at: int = T
) -> PromiseRecord:
    tags = {TAG_PARENT: parent} if parent else {}
    tags |= {TAG_ORIGIN: origin} if origin else {}
    state: Any = PENDING if settled_at is None else RESOLVED
    return PromiseRecord(id_, state, EMPTY, EMPTY, tags, 2 * T, at, settled_at)


def told(events: list[v1.WatchEvent]) -> list[tuple[str, str, int]]:
    return [(e.change.call.id, e.change.parent, e.change.call.state) for e in events]


def test_each_state_is_told_once() -> None:
    events = GraphEvents(record("r"), None)
    events.begin(T)
    first = events.take([record("r"), record("r.1", parent="r", origin="r")])
    assert told(first) == [("r", "", v1.STATE_PENDING), ("r.1", "r", v1.STATE_PENDING)]
    assert [event.position for event in first] == ["", ""]
    assert events.end_round().position == str(T)
    events.begin(T + 100)
    again = [record("r"), record("r.1", parent="r", origin="r", settled_at=T + 50)]
    second = events.take(again)
    assert told(second) == [("r.1", "r", v1.STATE_RESOLVED)]
    # The rest of this round was not told yet, so a client would begin with it.
    assert second[0].position == str(T)
    assert events.take(again) == []
    end = events.end(record("r", settled_at=T + 60))
    assert (end.position, end.end.state) == (str(T + 100), v1.STATE_RESOLVED)


def test_a_client_that_comes_back() -> None:
    events = GraphEvents(record("r"), T + OVERLAP_MS)
    events.begin(2 * T)
    news = events.take(
        [record("r"), record("r.1", parent="r"), record("r.2", parent="r", at=T + 1)]
    )
    # The states at that time are known, and those of a bit before are told again.
    assert told(news) == [("r.2", "r", v1.STATE_PENDING)]
    assert news[0].position == str(T + OVERLAP_MS)
    assert told(events.take([record("r.1", parent="r", settled_at=T + 2)])) == [
        ("r.1", "r", v1.STATE_RESOLVED)
    ]
    assert events.size == 3


def test_a_change_that_is_seen_late_is_told_all_the_same() -> None:
    events = GraphEvents(record("r"), None)
    events.begin(2 * T)
    events.take([record("r"), record("r.1", parent="r")])
    events.end_round()
    events.begin(2 * T + 1)
    late = events.take([record("r.1", parent="r", settled_at=T + 1), record("r.2", parent="r")])
    assert [id_ for id_, _, _ in told(late)] == ["r.1", "r.2"]


def test_a_part_of_a_graph() -> None:
    root = record("r.1", parent="r", origin="r")
    events = GraphEvents(root, None)
    events.begin(T)
    # In the order of ids: `a` and `b` have ids that somebody has chosen.
    page = [
        record("a", parent="b", origin="r"),
        record("b", parent="r.1", origin="r"),
        record("c", parent="r.2", origin="r"),
        record("r"),
        record("r.1.1", origin="r"),
        record("r.2", parent="r", origin="r"),
    ]
    assert told(events.take([root])) == [("r.1", "", v1.STATE_PENDING)]
    assert [id_ for id_, _, _ in told(events.take(page))] == ["b", "r.1.1"]
    assert events.found() == ["a"]
    assert told(events.take_found(page[0])) == [("a", "b", v1.STATE_PENDING)]
    events.begin(T + 1)
    assert events.take(page) == []
    assert events.found() == []


def test_callers() -> None:
    events = GraphEvents(record("r"), None)
    events.begin(T)
    local = PromiseRecord("r.1", PENDING, EMPTY, EMPTY, {TAG_BRANCH: "r"}, 2 * T, T)
    news = events.take([record("r"), local, record("r.1.2.3"), record("x", parent="absent")])
    assert [(id_, parent) for id_, parent, _ in told(news)] == [
        ("r", ""),
        ("r.1", "r"),
        ("r.1.2.3", "r.1"),
        ("x", "r"),
    ]


def test_positions() -> None:
    assert parse_position("") is None
    assert parse_position("1796062968982") == 1796062968982
    for text in ("x", "-1", "1.5", "９", "9" * 16, " 7"):
        with pytest.raises(Problem, match="it must be the position of an event, or empty"):
            parse_position(text)
