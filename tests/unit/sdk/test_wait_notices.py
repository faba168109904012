"""Notices of what keeps a call from going on, for those who wait for it."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from itertools import islice
from typing import Any, TypeAlias

import pytest

from understudy.wait_notices import (
    LOOKED_AT_MAX,
    PAUSE_MAX_S,
    UNANSWERED_MAX,
    WaitNotices,
    pauses_s,
)
from understudy_actors.errors import CommandError
from understudy_broker.protocol.messages import (
    GroupInfo,
    GroupsGet,
    GroupsReport,
    NodeInfo,
    Response,
)
from understudy_store.commands import PromiseSearch, Reply, TaskGet
from understudy_store.errors import UnderstudyError
from understudy_store.records import EMPTY, PromiseRecord, TaskRecord, TaskState, Value

TARGET = "poll://any@g"
NOON_MS = 1_800_000_000_000


def promise(id: str, origin: str | None = None) -> PromiseRecord:
    tags = {"understudy:target": TARGET} | ({"understudy:origin": origin} if origin else {})
    return PromiseRecord(id, "pending", Value({"fn": "f"}), EMPTY, tags, NOON_MS, 0)


def task(id: str, state: TaskState, failures: int = 0, cause: str | None = None) -> TaskRecord:
    due = NOON_MS if state == "pending" else None
    return TaskRecord(id, state, 1, TARGET, retry_at=due, failures=failures, cause=cause)


#: groups by name: the functions of their one node, and those that calls wait for
Groups: TypeAlias = dict[str, tuple[tuple[str, ...], tuple[str, ...]]]


def report(groups: Groups) -> GroupsReport:
    infos = [
        GroupInfo(
            name,
            (NodeInfo(f"{name}-1", f"{name}-1#0", 1, "here", 0, 0, 0, functions),),
            len(unserved),
            0,
            tuple((each, None, 1) for each in unserved),
        )
        for name, (functions, unserved) in groups.items()
    ]
    return GroupsReport(tuple(infos), {})


class Store:
    """Answers from tasks that the test changes."""

    def __init__(self) -> None:
        self.tasks: dict[str, TaskRecord] = {}
        self.asked: list[Any] = []
        self.groups: Groups = {"g": (("f",), ())}

    def command(self, command: Any) -> Future[Response]:
        self.asked.append(command)
        future: Future[Response] = Future()
        if isinstance(command, GroupsGet):
            future.set_result(Response(1, Reply(200), report(self.groups)))
        elif isinstance(command, TaskGet):
            found = self.tasks.get(command.id)
            if found is None:
                future.set_exception(CommandError(404, "no such task"))
            else:
                origin = None if command.id == "x" else "x"
                future.set_result(Response(1, Reply(200, None, promise(command.id, origin), found)))
        else:
            ids = [id for id in self.tasks if id.startswith(command.prefix)]
            future.set_result(Response(1, Reply(200, promises=[promise(id, "x") for id in ids])))
        return future


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return lines


def test_a_failure_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "understudy")
    store = Store()
    notices = WaitNotices(store.command, lambda: False)
    store.tasks["x"] = task("x", "pending")
    notices.look("x")
    notices.look("x")
    assert told(caplog) == []
    store.tasks["x"] = task("x", "pending", 1, "attempt 1 of 6 failed: OSError: down")
    notices.look("x")
    assert told(caplog) == [], "the answer is logged by the next look, on its thread"
    notices.look("x")
    notices.look("x")
    (line,) = told(caplog)
    assert line.startswith("f x: attempt 1 of 6 failed: OSError: down; attempt 2 comes at ")
    store.tasks["x"] = task("x", "acquired", 2, "attempt 2 of 6 failed: OSError: down")
    notices.look("x")
    notices.look("x")
    assert told(caplog) == ["f x: attempt 2 of 6 failed: OSError: down; attempt 3 is under way"]


def test_failures_of_what_it_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "understudy")
    store = Store()
    notices = WaitNotices(store.command, lambda: False)
    store.tasks["x"] = task("x", "suspended")
    store.tasks["x.1"] = task("x.1", "suspended")
    store.tasks["x.1.1"] = task("x.1.1", "pending", 1, "attempt 1 of 6 failed: OSError: down")
    store.tasks["x.2"] = task("x.2", "pending", 3, "attempt 3 of 6 failed: OSError: off")
    for root, prefix, found in (("x.1", "x.1.", ["x.1.1"]), ("x", "", ["x.2"])):
        notices.look(root)
        assert [c.prefix for c in store.asked if isinstance(c, PromiseSearch)][-1] == prefix
        notices.look(root)
        assert [line.split()[1] for line in told(caplog)] == [f"{id}:" for id in found]


def test_a_failure_that_this_process_has_logged_is_not_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store()
    notices = WaitNotices(store.command, lambda: True)
    store.tasks["x"] = task("x", "pending", 1, "attempt 1 of 6 failed: OSError: down")
    store.groups = {}
    notices.look("x")
    notices.look("x")
    assert told(caplog) == ["f x waits: nothing serves group g yet (groups with nodes: none)"]


def test_a_parked_call_is_told_with_the_command_that_continues_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store()
    notices = WaitNotices(store.command, lambda: False)
    store.tasks["x"] = task("x", "suspended")
    store.tasks["x.1"] = task("x.1", "halted", cause="changed code")
    advice = "to let it run again: understudy tasks continue x"
    for _ in range(3):
        notices.look("x")
    assert told(caplog) == [f"f x.1 is parked: changed code; {advice}.1"]
    store.tasks["x"] = task("x", "halted")
    for _ in range(3):
        notices.look("x")
    assert told(caplog) == [f"f x is halted; {advice}"]


def test_a_call_that_no_node_can_perform(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    notices = WaitNotices(store.command, lambda: False)
    store.tasks["x"] = task("x", "pending")
    store.groups = {"g": (("g",), ("f",))}
    for _ in range(3):
        notices.look("x")
    (line,) = told(caplog)
    assert line == "f x waits: no node of group g has the function f; registered there: g"
    store.groups = {"h": (("f",), ())}
    notices.look("x")
    notices.look("x")
    assert told(caplog) == ["f x waits: nothing serves group g yet (groups with nodes: h)"]


def test_many_who_wait_ask_for_the_groups_once_and_not_too_much_at_a_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[tuple[Any, Future[Response]]] = []

    def command(command: Any) -> Future[Response]:
        asked.append((command, Future()))
        return asked[-1][1]

    notices = WaitNotices(command, lambda: False)
    for number in range(2 * UNANSWERED_MAX):
        notices.look(f"x{number}")
    assert len(asked) == UNANSWERED_MAX
    for each, future in asked[:UNANSWERED_MAX]:
        reply = Reply(200, None, promise(each.id), task(each.id, "pending"))
        future.set_result(Response(1, reply))
    (groups,) = [future for each, future in asked if isinstance(each, GroupsGet)]
    groups.set_result(Response(1, Reply(200), report({})))
    notices.look("x")
    assert len(told(caplog)) == LOOKED_AT_MAX, "no more than that at a time"
    asked.clear()
    notices.look("y")
    asked[-1][1].set_result(Response(1, Reply(200, None, promise("y"), task("y", "pending"))))
    assert isinstance(asked[-1][0], GroupsGet), "the groups are asked for anew"
    asked[-1][1].set_exception(CommandError(400, "no"))
    notices.look("y")
    asked[-1][1].set_result(Response(1, Reply(200, None, promise("y"), task("y", "pending"))))
    assert isinstance(asked[-1][0], GroupsGet), "also after an answer that was none"


def test_what_cannot_be_asked_is_the_waits_own_business() -> None:
    def gone(_: Any) -> Future[Response]:
        raise UnderstudyError("stopped")

    WaitNotices(gone, lambda: False).look("x")
    WaitNotices(Store().command, lambda: False).look("nothing")


def test_looks_become_rare_and_have_no_end() -> None:
    pauses = list(islice(pauses_s("x"), 100))
    assert pauses[0] >= 2, "a call that takes no longer costs nothing"
    assert set(pauses[15:]) == {max(pauses)}
    assert PAUSE_MAX_S <= max(pauses) <= 1.5 * PAUSE_MAX_S


def test_looks_at_many_calls_are_spread() -> None:
    first = [next(pauses_s(f"x{number}")) for number in range(1000)]
    assert len(set(first)) > 100
    assert max(first) <= 3
