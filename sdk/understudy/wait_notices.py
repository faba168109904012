"""Notices for those who wait: why a call takes long, if anything keeps it from going on."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Final
from zlib import crc32

from understudy.log_lines import say
from understudy.obstacles import halt_text, retry_text, why_queued
from understudy_broker.protocol.messages import AnyCommand, GroupsGet, Response
from understudy_store.commands import PromiseSearch, TaskGet
from understudy_store.errors import UnderstudyError
from understudy_store.records import (
    HEADER_FUNCTION,
    PENDING,
    TAG_TARGET,
    PromiseRecord,
    TaskRecord,
    origin_of,
)

#: Seconds of waiting before the first looks; the second one tells what the first has asked for.
#: Each further pause is twice the one before, so that a wait of weeks costs few looks.
LOOKS_S: Final = (2.0, 0.5, 4.0)
#: the longest pause, in seconds, but for its spread
PAUSE_MAX_S: Final = 3600.0
#: The part by which the pauses for some calls are longer, so that a program that waits for many
#: at a time does not look at all of them at once.
SPREAD: Final = 0.5
#: calls of a call graph that one look asks about
LOOKED_AT_MAX: Final = 20
#: Unanswered requests; at the bound a look is left out, because the next one will do.
UNANSWERED_MAX: Final = 64
#: notices to remember, so that each is told once
TOLD_MAX: Final = 10_000


def pauses_s(id: str) -> Iterator[float]:
    """Yield the seconds to wait before each look at a call, in whole milliseconds."""
    factor = 1 + SPREAD * (crc32(id.encode()) & 0xFF) / 0xFF
    for pause_s in LOOKS_S:
        yield round(pause_s * factor, 3)
    pause_s = LOOKS_S[-1]
    while True:
        pause_s = min(2 * pause_s, PAUSE_MAX_S)
        yield round(pause_s * factor, 3)


class WaitNotices:
    """Asks what keeps a call from going on that somebody waits for, and logs each reason once.

    The reasons: an attempt has failed, the call is parked, or no node has its function. Nothing
    here waits. The answers come on the connection's thread, and the next look logs them, because
    the users' log handlers may do what must not be done on that thread.

    Parameters
    ----------
    command
        Sends a command and returns the future of its response.
    logs_failures
        Returns whether this process itself has logged each failed attempt.
    """

    def __init__(
        self,
        command: Callable[[AnyCommand], Future[Response]],
        logs_failures: Callable[[], bool],
    ) -> None:
        self._command = command
        self._logs_failures = logs_failures
        self._unanswered: set[Future[Response]] = set()
        #: calls that are pending, by id: the report of the groups says why
        self._queued: dict[str, PromiseRecord] = {}
        self._asks_for_groups = False
        self._told: set[tuple[str, str]] = set()
        #: id and text of each notice that is to be logged
        self._arrived: deque[tuple[str, str]] = deque(maxlen=LOOKED_AT_MAX)

    def look(self, id: str) -> None:
        """Log what has arrived; ask about the call `id`, and about what it waits for."""
        while self._arrived:
            about, text = self._arrived.popleft()
            say(logging.WARNING, "%s", text, extra={"waited_id": about})
        self._ask(TaskGet(id), self._on_root)

    # Requests ------------------------------------------------------------------------------------

    def _ask(self, command: AnyCommand, then: Callable[[Response | None], None]) -> None:
        """Send a request; `then` gets its response, None if there is none."""
        if len(self._unanswered) < UNANSWERED_MAX:
            with suppress(UnderstudyError):  # Who waits hears of it by the wait.
                future = self._command(command)
                self._unanswered.add(future)
                future.add_done_callback(partial(self._on_answer, then))
                return
        then(None)

    def _on_answer(self, then: Callable[[Response | None], None], future: Future[Response]) -> None:
        self._unanswered.discard(future)
        failed = future.cancelled() or future.exception() is not None
        then(None if failed else future.result())

    def _on_root(self, response: Response | None) -> None:
        self._on_task(response)
        reply = response and response.reply
        if not reply or reply.promise is None or reply.task is None:
            return
        if reply.task.state in ("suspended", "acquired"):
            # What keeps it may be further down.
            root = reply.promise
            origin = origin_of(root)
            prefix = "" if origin == root.id else f"{root.id}."
            search = PromiseSearch(PENDING, {}, prefix, origin, LOOKED_AT_MAX)
            self._ask(search, partial(self._on_children, root.id))

    def _on_children(self, root: str, response: Response | None) -> None:
        for promise in (response and response.reply.promises) or ():
            if promise.id != root and TAG_TARGET in promise.tags:
                self._ask(TaskGet(promise.id), self._on_task)

    def _on_task(self, response: Response | None) -> None:
        reply = response and response.reply
        if not reply or reply.promise is None or reply.task is None:
            return
        promise, task = reply.promise, reply.task
        if task.state == "halted":
            self._tell(promise, f"halted {task.version}", f" {halt_text(task)}")
            return
        if _has_failed(task) and not self._logs_failures():
            self._tell(promise, f"failed {task.failures}", f": {retry_text(task)}")
        if task.state == PENDING:
            self._queued[promise.id] = promise
            if not self._asks_for_groups:
                self._asks_for_groups = True
                self._ask(GroupsGet(), self._on_groups)

    def _on_groups(self, response: Response | None) -> None:
        self._asks_for_groups = False
        queued, self._queued = self._queued, {}
        report = None if response is None else response.report
        if report is None:
            return
        for promise in queued.values():
            why = why_queued(promise, report)
            if why is not None:
                self._tell(promise, why, f" waits: {why}")

    # Notices -------------------------------------------------------------------------------------

    def _tell(self, promise: PromiseRecord, what: str, text: str) -> None:
        """Have a notice logged, unless `what` has been told of this call before."""
        key = (promise.id, what)
        if key not in self._told and len(self._told) < TOLD_MAX:
            self._told.add(key)
            name = promise.param.headers.get(HEADER_FUNCTION, "")
            self._arrived.append((promise.id, f"{name} {promise.id}{text}"))


def _has_failed(task: TaskRecord) -> bool:
    """Return whether an attempt has failed that is to be followed by another."""
    return bool(task.failures) and task.cause is not None and task.state in (PENDING, "acquired")
