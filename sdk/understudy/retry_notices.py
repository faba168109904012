"""Notices for those who wait: why a call takes long, if that is because attempts have failed."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Final

from understudy_broker.protocol.messages import AnyCommand, Response
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
#: the longest pause, in seconds
PAUSE_MAX_S: Final = 3600.0
#: calls of a call graph that one look asks about
LOOKED_AT_MAX: Final = 20
#: failures to remember, so that each is told once
TOLD_MAX: Final = 10_000

_LOG: Final = logging.getLogger("understudy")


def pauses_s() -> Iterator[float]:
    """Yield the seconds to wait before each look."""
    yield from LOOKS_S
    pause_s = LOOKS_S[-1]
    while True:
        pause_s = min(2 * pause_s, PAUSE_MAX_S)
        yield pause_s


class RetryNotices:
    """Asks for the failures of a call that somebody waits for, and logs each once.

    Nothing here waits. The answers come on the connection's thread, and the next look logs them,
    because the users' log handlers may do what must not be done on that thread.

    Parameters
    ----------
    command
        Sends a command and returns the future of its response.
    """

    def __init__(self, command: Callable[[AnyCommand], Future[Response]]) -> None:
        self._command = command
        self._told: set[tuple[str, int]] = set()
        #: name, id and text of each failure that is to be logged
        self._arrived: deque[tuple[str, str, str]] = deque(maxlen=LOOKED_AT_MAX)

    def look(self, id: str) -> None:
        """Log what has arrived; ask about the call `id`, and about what it waits for."""
        while self._arrived:
            name, failed, text = self._arrived.popleft()
            _LOG.warning("%s %s: %s", name, failed, text, extra={"retried_id": failed})
        with suppress(UnderstudyError):  # Who waits hears of it by the wait.
            self._command(TaskGet(id)).add_done_callback(self._on_root)

    def _on_root(self, answer: Future[Response]) -> None:
        response = _response(answer)
        if response is None:
            return
        promise, task = response.reply.promise, response.reply.task
        if promise is None or task is None:
            return
        self._tell(promise, task)
        if task.state in ("suspended", "acquired"):
            # What it waits for may be what has failed.
            origin = origin_of(promise)
            prefix = "" if origin == promise.id else f"{promise.id}."
            search = PromiseSearch(PENDING, {}, prefix, origin, LOOKED_AT_MAX)
            self._command(search).add_done_callback(partial(self._on_children, promise.id))

    def _on_children(self, root: str, answer: Future[Response]) -> None:
        response = _response(answer)
        for promise in (response and response.reply.promises) or ():
            if promise.id != root and TAG_TARGET in promise.tags:
                self._command(TaskGet(promise.id)).add_done_callback(self._on_child)

    def _on_child(self, answer: Future[Response]) -> None:
        response = _response(answer)
        if response is None:
            return
        promise, task = response.reply.promise, response.reply.task
        if promise is not None and task is not None:
            self._tell(promise, task)

    def _tell(self, promise: PromiseRecord, task: TaskRecord) -> None:
        if not task.failures or task.cause is None or task.state not in (PENDING, "acquired"):
            return
        if (promise.id, task.failures) in self._told or len(self._told) >= TOLD_MAX:
            return
        self._told.add((promise.id, task.failures))
        name = promise.param.headers.get(HEADER_FUNCTION, "")
        self._arrived.append((name, promise.id, retry_text(task)))


def retry_text(task: TaskRecord) -> str:
    """Say which attempt has failed, why, and when the next one comes (in local time)."""
    attempt = task.failures + 1
    if task.state == PENDING and task.retry_at is not None:
        moment = datetime.fromtimestamp(task.retry_at / 1000).astimezone()
        return f"{task.cause}; attempt {attempt} comes at {moment:%H:%M:%S}"
    return f"{task.cause}; attempt {attempt} is under way"


def _response(answer: Future[Response]) -> Response | None:
    """Return the answer; None if there is none, which is the wait's own business."""
    return None if answer.cancelled() or answer.exception() is not None else answer.result()
