"""One-shot access to a broker for commands that ask, change something, and end."""

from __future__ import annotations

import logging
import secrets
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Self

from understudy.errors import BrokerUnavailableError
from understudy.runtime import Runtime
from understudy_actors.errors import CommandError
from understudy_broker.protocol.messages import GroupsGet, GroupsReport
from understudy_store.commands import (
    PromiseGet,
    PromiseSearch,
    Reply,
    TaskGet,
    TaskSearch,
)
from understudy_store.records import PromiseRecord, TaskRecord

#: a person waits: what is not there is said soon
CONNECT_TIMEOUT_S: Final = 5.0
#: records that are asked for at a time
PAGE: Final = 1000

_LOG: Final = logging.getLogger("understudy")


class _Awaited(logging.Handler):
    """Says that no broker answers yet, which the connection logs after about a second.

    Parameters
    ----------
    until
        When the first connection is given up, in seconds of the monotonic clock.
    advice
        What to do about it.
    """

    def __init__(self, until: float, advice: str) -> None:
        super().__init__(logging.WARNING)
        self._until = until
        self._advice = advice

    def emit(self, record: logging.LogRecord) -> None:
        error = record.args[0] if isinstance(record.args, tuple) and record.args else None
        if isinstance(error, BrokerUnavailableError):
            left_s = self._until - time.monotonic()
            more = f"trying for {left_s:.0f} s more" if left_s > 0 else "waiting for it"
            print(
                f"understudy: no broker answers at {error.url} yet; {self._advice}; {more}",
                file=sys.stderr,
                flush=True,
            )


class Client:
    """A broker's client, connected at the first use, until the block is left.

    Parameters
    ----------
    connect_timeout_s
        Seconds after which a first connection is given up.
    advice
        What to do if no broker answers at once; None: that is not told, for the one who asks
        starts it.

    Raises
    ------
    BrokerUnavailableError
        At the first use, if nothing answers in time.
    """

    def __init__(
        self,
        url: str | None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        advice: str | None = "start one with: understudy broker",
    ) -> None:
        self.runtime = Runtime(
            id=f"cli-{secrets.token_hex(4)}", url=url, connect_timeout=connect_timeout_s
        )
        self._awaited: _Awaited | None = None
        if advice is not None:
            self._awaited = _Awaited(time.monotonic() + connect_timeout_s, advice)

    def __enter__(self) -> Self:
        # with --verbose nothing is handled, and all that is logged is shown anyway
        if self._awaited is not None and _LOG.handlers:
            _LOG.addHandler(self._awaited)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._awaited is not None:
            _LOG.removeHandler(self._awaited)
        self.runtime.stop(timeout=2.0)

    @property
    def url(self) -> str:
        return self.runtime.url

    def connect(self, timeout_s: float | None = None) -> None:
        """Return when the broker has answered; in seconds, by default the client's own."""
        self.runtime.session.connection.wait_connected(timeout_s)

    def command(self, command: Any) -> Reply:
        """One command; `CommandError` if it is refused."""
        reply: Reply = self.runtime.session.command(command)
        return reply

    def commands(self, commands: Sequence[Any]) -> Iterator[Reply | CommandError]:
        """Many at once, in their order, without waiting for each other."""
        connection = self.runtime.session.connected()
        for start in range(0, len(commands), PAGE):
            futures = [connection.command(command) for command in commands[start : start + PAGE]]
            for future in futures:
                try:
                    yield future.result().reply
                except CommandError as error:
                    yield error

    def groups(self) -> GroupsReport:
        """Return all groups with their nodes, as the wire carries them."""
        report = self.runtime.session.connected().command(GroupsGet()).result().report
        assert report is not None
        return report

    def settled(self, id: str) -> Future[PromiseRecord]:
        """The record, once it is settled."""
        return self.runtime.session.connected().watch(id)

    def promise(self, id: str) -> PromiseRecord | None:
        """None if there is none of that id."""
        try:
            return self.command(PromiseGet(id)).promise
        except CommandError as error:
            if error.status == 404:
                return None
            raise

    def promises(
        self,
        *,
        state: str | None = None,
        tags: dict[str, str] | None = None,
        prefix: str = "",
        origin: str | None = None,
        limit: int | None = None,
    ) -> Iterator[PromiseRecord]:
        """In the order of their ids; at most `limit`."""
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            reply = self.command(PromiseSearch(state, tags or {}, prefix, origin, size, cursor))
            found = reply.promises or []
            yield from found
            left = None if left is None else left - len(found)
            cursor = reply.cursor
            if cursor is None:
                return

    def tasks(
        self, *, state: str | None = None, group: str | None = None, limit: int | None = None
    ) -> Iterator[TaskRecord]:
        """In the order of their ids; at most `limit`."""
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            reply = self.command(TaskSearch(state, group, size, cursor))
            found = reply.tasks or []
            yield from found
            left = None if left is None else left - len(found)
            cursor = reply.cursor
            if cursor is None:
                return

    def tasks_of(self, ids: Iterable[str]) -> dict[str, TaskRecord]:
        """The tasks of those promises that have one."""
        found = {}
        for reply in self.commands([TaskGet(id) for id in ids]):
            if isinstance(reply, Reply) and reply.task is not None:
                found[reply.task.id] = reply.task
        return found
