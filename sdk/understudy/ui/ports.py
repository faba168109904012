"""Ports: where a dashboard reads, which is brokers, the file of a store, or a history."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

import trio

from understudy.client.seal_keys import process_sealer
from understudy.client.sealed_records import SealedRecords
from understudy.edge.brokers import Brokers, BusyError, NoBrokerError, RefusedReportError
from understudy.testing.histories import History
from understudy_broker.protocol.messages import GroupsReport, OwnCommand
from understudy_store.commands import (
    CallSearch,
    PromiseGet,
    PromiseSearch,
    Reply,
    ScheduleSearch,
    TaskAttempts,
    TaskGet,
    TaskSearch,
)
from understudy_store.errors import UnderstudyError
from understudy_store.records import PromiseRecord, origin_of

if TYPE_CHECKING:
    from understudy_store.engines.sqlite.store_reader import StoreReader

#: what a port reads from
Kind: TypeAlias = Literal["broker", "store", "history"]

_NO_SUCH: Final = Reply(404, "there is none of this id")
_READ_ONLY: Final = Reply(403, "this is a file, which is only read: nothing can be changed here")


class AwayError(UnderstudyError):
    """No broker answers at the moment."""


class RefusedError(UnderstudyError):
    """The broker refuses to tell something to who asks.

    Attributes
    ----------
    status
        That of HTTP.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.error or "the broker refuses it")
        self.status = reply.status


class Port(Protocol):
    """A place to read, and with brokers one to act.

    Attributes
    ----------
    kind
        What it is.
    name
        The address of the brokers, or the path of the file.
    """

    @property
    def kind(self) -> Kind: ...

    @property
    def name(self) -> str: ...

    def now_ms(self) -> int:
        """Return the time of what is read, epoch milliseconds."""

    async def ask(self, commands: Sequence[OwnCommand]) -> list[Reply]:
        """Have commands performed, and return their replies, in order.

        Raises
        ------
        AwayError
        """

    async def groups(self) -> GroupsReport | None:
        """Return the groups; None: a file has none.

        Raises
        ------
        AwayError, RefusedError
        """


class BrokersPort:
    """The brokers of a deployment, asked in the name of whoever looks at the page."""

    kind: Final = "broker"

    def __init__(self, brokers: Brokers, url: str) -> None:
        self._brokers = brokers
        self.name = url

    def now_ms(self) -> int:
        """Return the brokers' time."""
        return self._brokers.clock()

    async def ask(self, commands: Sequence[OwnCommand]) -> list[Reply]:
        """Ask the brokers; raises `AwayError`."""
        if not commands:
            return []
        try:
            return await self._brokers.ask_all(commands)
        except (NoBrokerError, BusyError) as error:
            raise AwayError(str(error)) from None

    async def groups(self) -> GroupsReport | None:
        """Ask the brokers for their groups; raises `AwayError` and `RefusedError`."""
        try:
            return await self._brokers.groups()
        except RefusedReportError as error:
            raise RefusedError(error.reply) from None
        except (NoBrokerError, BusyError) as error:
            raise AwayError(str(error)) from None


class StorePort:
    """The file of a store: a copy, a backup, or one that a broker has open.

    Parameters
    ----------
    reader
        Stays open for as long as this is used.
    """

    kind: Final = "store"

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader
        self.name = str(reader.path)
        sealer = process_sealer()
        self._sealed = None if sealer is None else SealedRecords(sealer)

    def now_ms(self) -> int:
        """Return the time of this machine."""
        return _wall_ms()

    async def ask(self, commands: Sequence[OwnCommand]) -> list[Reply]:
        """Read from the file. What would change it is refused."""
        replies = []
        for command in commands:
            await trio.lowlevel.checkpoint()
            reply = self._answer(command)
            replies.append(reply if self._sealed is None else self._sealed.open_reply(reply))
        return replies

    def _answer(self, command: OwnCommand) -> Reply:
        if isinstance(
            command, PromiseSearch | TaskSearch | ScheduleSearch | CallSearch | TaskAttempts
        ):
            return self._reader.search(command)
        if not isinstance(command, PromiseGet | TaskGet):
            return _READ_ONLY
        row = self._reader.find(command.id)
        if row is None:
            return _NO_SUCH
        return Reply(200, promise=row.promise, task=row.task)

    async def groups(self) -> GroupsReport | None:
        """Return None."""
        await trio.lowlevel.checkpoint()
        return None


class HistoryPort:
    """A file that `understudy.testing.record` has saved: one call graph."""

    kind: Final = "history"

    def __init__(self, path: Path) -> None:
        history = History.load(path)
        self.name = str(path)
        self.id = history.id
        self._promises = {promise.id: promise for promise in history.promises}
        last = max(each.settled_at or each.created_at for each in history.promises)
        self._now_ms = last

    def now_ms(self) -> int:
        """Return the time of the last event of the history."""
        return self._now_ms

    async def ask(self, commands: Sequence[OwnCommand]) -> list[Reply]:
        """Read from the history. What would change it is refused."""
        await trio.lowlevel.checkpoint()
        return list(map(self._answer, commands))

    def _answer(self, command: OwnCommand) -> Reply:
        match command:
            case PromiseGet():
                found = self._promises.get(command.id)
                return _NO_SUCH if found is None else Reply(200, promise=found)
            case PromiseSearch():
                ids = [each.id for each in self._promises.values() if _matches(each, command)]
                page = sorted(each for each in ids if each > (command.cursor or ""))
                more = page[command.limit - 1] if len(page) > command.limit else None
                promises = [self._promises[each] for each in page[: command.limit]]
                return Reply(200, promises=promises, cursor=more)
            case TaskGet():
                return _NO_SUCH
            case TaskSearch() | ScheduleSearch() | CallSearch() | TaskAttempts():
                return Reply(200, tasks=[], schedules=[], calls=[], attempts=[])
            case _:
                return _READ_ONLY

    async def groups(self) -> GroupsReport | None:
        """Return None."""
        await trio.lowlevel.checkpoint()
        return None


def _matches(record: PromiseRecord, search: PromiseSearch) -> bool:
    return (
        search.state in (None, record.state)
        and record.id.startswith(search.prefix)
        and search.origin in (None, origin_of(record))
        and search.tags.items() <= record.tags.items()
    )


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
