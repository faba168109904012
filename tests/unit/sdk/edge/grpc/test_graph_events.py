"""Events of call graphs: messages, positions, and what a client knows that comes back."""

from __future__ import annotations

from typing import Any

import pytest

from understudy.edge.grpc.graph_events import OVERLAP_MS, GraphEvents, parse_position
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.native.feeds import PAUSE_MAX_S, State
from understudy.edge.native.problems import Problem
from understudy_store.records import EMPTY, PROMISE_WORDS, RESOLVED, PromiseRecord

T = 10**12


def state(id_: str, changed_at: int, **more: Any) -> State:
    data: dict[str, Any] = {
        "id": id_,
        "parent": "r",
        "role": "call",
        "function": "add",
        "state": "pending",
        "created_at": T,
        "settled_at": None,
    }
    return State(data | more, changed_at)


def test_a_promise_that_is_new() -> None:
    [event] = GraphEvents(None).changes([state("r.1", T + 5, parent=None)])
    assert event.position == str(T + 5)
    assert event.change == v1.WatchEvent.Change(
        id="r.1", role="call", function="add", state=v1.STATE_PENDING, created_at=T
    )


def test_a_promise_that_has_failed() -> None:
    failure = {"type": "ValueError", "message": "no stock"}
    settled = state("r.1", T + 5, state="rejected", settled_at=T + 5, error=failure)
    [event] = GraphEvents(None).changes([settled])
    assert (event.change.state, event.change.settled_at) == (v1.STATE_REJECTED, T + 5)
    assert event.change.parent == "r"
    assert event.change.error == v1.Error(type="ValueError", message="no stock")


@pytest.mark.parametrize("word", PROMISE_WORDS.values())
def test_every_state_has_a_number(word: str) -> None:
    [event] = GraphEvents(None).changes([state("r", T, state=word)])
    assert v1.State.Name(event.change.state) == f"STATE_{word.upper()}"


def test_positions_do_not_go_back() -> None:
    events = GraphEvents(None)
    assert events.caught_up().position == ""
    news = events.changes([state("a", T + 5), state("b", T + 3)])
    assert [event.position for event in news] == [str(T + 5)] * 2
    assert events.caught_up().position == str(T + 5)


def test_a_client_that_comes_back() -> None:
    events = GraphEvents(T + OVERLAP_MS)
    news = events.changes([state("a", T), state("b", T + 1)])
    assert [event.change.id for event in news] == ["b"]
    assert news[0].position == str(T + OVERLAP_MS)
    # What is told late, because of a pause of the feed, is told again.
    assert OVERLAP_MS > PAUSE_MAX_S * 1000


def test_the_end() -> None:
    root = PromiseRecord("r", RESOLVED, EMPTY, EMPTY, {}, 2 * T, T, T + 7)
    end = GraphEvents(None).end(root)
    assert (end.end.call.id, end.end.call.value.json) == ("r", "null")
    assert end.position == str(T + 7 + OVERLAP_MS)
    # Whoever has got it knows everything.
    assert GraphEvents(parse_position(end.position)).is_known(T + 7)
    assert not GraphEvents(None).is_known(T + 7)


def test_positions() -> None:
    assert parse_position("") is None
    assert parse_position("1796062968982") == 1796062968982
    for text in ("x", "-1", "1.5", "９", "9" * 16, " 7"):
        with pytest.raises(Problem, match="it must be the position of an event, or empty"):
            parse_position(text)
