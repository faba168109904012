"""Notices of failed attempts, for those who wait for a call."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from itertools import islice
from typing import Any

import pytest

from understudy.retry_notices import PAUSE_MAX_S, RetryNotices, pauses_s
from understudy_actors.errors import CommandError
from understudy_broker.protocol.messages import Response
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


class Store:
    """Answers from tasks that the test changes."""

    def __init__(self) -> None:
        self.tasks: dict[str, TaskRecord] = {}
        self.asked: list[Any] = []

    def command(self, command: Any) -> Future[Response]:
        self.asked.append(command)
        future: Future[Response] = Future()
        if isinstance(command, TaskGet):
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
    notices = RetryNotices(store.command)
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
    notices = RetryNotices(store.command)
    store.tasks["x"] = task("x", "suspended")
    store.tasks["x.1"] = task("x.1", "suspended")
    store.tasks["x.1.1"] = task("x.1.1", "pending", 1, "attempt 1 of 6 failed: OSError: down")
    store.tasks["x.2"] = task("x.2", "pending", 3, "attempt 3 of 6 failed: OSError: off")
    for root, prefix, found in (("x.1", "x.1.", ["x.1.1"]), ("x", "", ["x.2"])):
        notices.look(root)
        assert [c.prefix for c in store.asked if isinstance(c, PromiseSearch)][-1] == prefix
        notices.look(root)
        assert [line.split()[1] for line in told(caplog)] == [f"{id}:" for id in found]


def test_what_cannot_be_asked_is_the_waits_own_business() -> None:
    def gone(_: Any) -> Future[Response]:
        raise UnderstudyError("stopped")

    RetryNotices(gone).look("x")
    RetryNotices(Store().command).look("nothing")


def test_looks_become_rare_and_have_no_end() -> None:
    pauses = list(islice(pauses_s(), 100))
    assert pauses[0] >= 2, "a call that takes no longer costs nothing"
    assert set(pauses[15:]) == {max(pauses)} == {PAUSE_MAX_S}
