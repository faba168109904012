"""Merged answers: several brokers answer as one would that has the promises of all."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy_broker.link.merging import merge, merge_reports
from understudy_broker.protocol.messages import (
    GroupInfo,
    GroupsGet,
    GroupsReport,
    NodeInfo,
    PromiseWatch,
    Refused,
    Response,
)
from understudy_store.calls import call_cursor, call_place, place_of
from understudy_store.commands import (
    CallSearch,
    PromiseSearch,
    Reply,
    ScheduleSearch,
    StatsGet,
    TaskSearch,
)
from understudy_store.records import (
    EMPTY,
    CallRecord,
    PromiseRecord,
    ScheduleRecord,
    StoreStats,
    TaskRecord,
)


def promise(id_: str) -> PromiseRecord:
    return PromiseRecord(id_, "pending", EMPTY, EMPTY, {}, 9, 1)


def page(ids: list[str], after: str | None, limit: int) -> Reply:
    """Answer a search as a broker does that has these promises."""
    left = [id_ for id_ in sorted(ids) if after is None or id_ > after]
    cursor = left[limit - 1] if len(left) > limit else None
    return Reply(200, promises=[promise(id_) for id_ in left[:limit]], cursor=cursor)


@given(
    st.lists(st.lists(st.text("abé\U0001f600.1", min_size=1, max_size=4)), min_size=1, max_size=4),
    st.integers(1, 5),
    st.data(),
)
def test_pages_of_several_brokers_show_each_promise_once_and_in_order(
    parts: list[list[str]], limit: int, data: st.DataObject
) -> None:
    all_ids = sorted({id_ for part in parts for id_ in part})
    # Each id is at one broker only.
    brokers: list[list[str]] = [[] for _ in parts]
    for id_ in all_ids:
        brokers[data.draw(st.integers(0, len(parts) - 1))].append(id_)
    shown: list[str] = []
    cursor: str | None = None
    while True:
        command = PromiseSearch(limit=limit, cursor=cursor)
        # A page may also end early, because its promises are large.
        limits = [data.draw(st.integers(1, limit)) for _ in brokers]
        answers = [
            Response(0, page(ids, cursor, most)) for ids, most in zip(brokers, limits, strict=True)
        ]
        answer = merge(command, answers)
        assert isinstance(answer, Response)
        records = answer.reply.promises or []
        assert len(records) <= limit
        assert records or answer.reply.cursor is None, "a page that is not the last shows something"
        shown += [record.id for record in records]
        cursor = answer.reply.cursor
        if cursor is None:
            break
    assert shown == all_ids


def test_pages_of_tasks_and_schedules() -> None:
    tasks = [TaskRecord(id_, "pending", 0, "any@g") for id_ in "ab"]
    replies = [Response(0, Reply(200, tasks=[task])) for task in reversed(tasks)]
    merged = merge(TaskSearch(), replies)
    assert isinstance(merged, Response)
    assert merged.reply.tasks == tasks
    schedules = [ScheduleRecord(id_, "* * * * *", "x", 1, EMPTY, {}, 2, 1) for id_ in "ab"]
    replies = [Response(0, Reply(200, schedules=[each])) for each in schedules]
    merged = merge(ScheduleSearch(limit=1), replies)
    assert isinstance(merged, Response)
    assert merged.reply.schedules == schedules[:1]
    assert merged.reply.cursor == "a"


@pytest.mark.parametrize("wrong", [Refused(429, "busy", corr=1), Response(1, Reply(404, "no"))])
def test_one_refusal_is_the_answer(wrong: Refused | Response) -> None:
    fine = Response(0, Reply(200, promises=[promise("a")]))
    assert merge(PromiseWatch(("a", "b")), [fine, wrong]) is wrong


def test_settled_promises_of_a_watch_come_together() -> None:
    answers = [Response(0, Reply(200, promises=[promise(id_)])) for id_ in "ba"]
    merged = merge(PromiseWatch(("a", "b")), answers)
    assert isinstance(merged, Response)
    assert {record.id for record in merged.reply.promises or ()} == {"a", "b"}


def test_a_report_on_groups_shows_each_node_once() -> None:
    here = NodeInfo("n", "n#1", 7, "h", credit=3, held=2, silent_ms=50, concurrency=8)
    there = NodeInfo("n", "n#1", 7, "h", credit=1, held=5, silent_ms=10, concurrency=8)
    there = msgspec.structs.replace(there, blocked="by app.py:7", blocked_ms=900)
    other = NodeInfo("m", "m#1", 8, "h", credit=1, held=0, silent_ms=10)
    one = GroupsReport(
        (GroupInfo("g", (here,), 4, 100, (("f", None, 2),)),), {"commits": 5, "only here": 1}
    )
    two = GroupsReport(
        (
            GroupInfo("a", (), 1, 5),
            GroupInfo("g", (there, other), 6, 300, (("f", None, 1), ("f", "2", 1))),
        ),
        {"commits": 2},
    )
    one = msgspec.structs.replace(one, limited=(("a", "old", 900), ("b", "b", 5)))
    two = msgspec.structs.replace(two, limited=(("a", "new", 100),))
    answers = [Response(1, Reply(200), report) for report in (one, two)]
    merged = merge(GroupsGet(), answers)
    assert isinstance(merged, Response)
    report = merged.report
    assert report == merge_reports([one, two])
    assert report.limited == (("a", "new", 100), ("b", "b", 5))
    assert [group.name for group in report.groups] == ["a", "g"]
    group = report.groups[1]
    assert (group.queued, group.waiting_ms) == (10, 300)
    assert dict(zip("nm", group.nodes, strict=True)) == {
        "n": NodeInfo("n", "n#1", 7, "h", 4, 7, 10, (), 8, "by app.py:7", 900),
        "m": other,
    }
    assert set(group.unserved) == {("f", None, 3), ("f", "2", 1)}
    assert report.counters == {"commits": 7, "only here": 1}


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_pages_of_calls_go_from_new_to_old(limit: int) -> None:
    calls = [
        CallRecord(f"c{n}", "f", "g", "resolved", "fulfilled", {}, n // 2, 99) for n in range(9)
    ]
    parts = [calls[0::3], calls[1::3], calls[2::3]]
    shown: list[str] = []
    cursor: str | None = None
    while True:
        command = CallSearch(limit=limit, cursor=cursor, counts=True)
        place = None if cursor is None else call_place(cursor)
        answers: list[Response | Refused] = []
        for part in parts:
            newest = sorted(part, key=lambda call: place_of(call, command), reverse=True)
            left = [each for each in newest if place is None or place_of(each, command) < place]
            page = left[:limit]
            end = call_cursor(place_of(page[-1], command)) if len(left) > limit else None
            answers.append(Response(0, Reply(200, calls=page, cursor=end, counts={"resolved": 3})))
        merged = merge(command, answers)
        assert isinstance(merged, Response)
        assert merged.reply.counts == {"resolved": 9}
        shown += [call.id for call in merged.reply.calls or ()]
        cursor = merged.reply.cursor
        if cursor is None:
            break
    assert shown == [f"c{n}" for n in reversed(range(9))]


def test_what_stores_have_is_added_up() -> None:
    stats = [
        StoreStats(5, 1, 2, 3, None, [("g", "f", 2), ("g", "h", 1)], 100, 10, 5, 7),
        StoreStats(1, 0, 0, 0, 70, [("g", "h", 4)]),
        StoreStats(1, 1, 0, 0, 90, []),
    ]
    answer = merge(StatsGet(), [Response(0, Reply(200, stats=each)) for each in stats])
    assert isinstance(answer, Response)
    assert answer.reply.stats == StoreStats(
        7, 2, 2, 3, 70, [("g", "h", 5), ("g", "f", 2)], 100, 10, 5, 7
    )
    assert merge(StatsGet(), [Refused(503, "away"), Response(0, Reply(200))]) == Refused(
        503, "away"
    )
