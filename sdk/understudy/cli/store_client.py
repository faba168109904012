"""Sources of promises for commands that only read: a broker, the file of a store, or a history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from understudy.cli.client import PAGE_MAX, Client, borrow
from understudy.cli.errors import UsageError
from understudy.cli.under_way import Source
from understudy.client.seal_keys import process_sealer
from understudy.client.sealed_records import SealedRecords
from understudy.values import Codec
from understudy_store.commands import PromiseSearch, Reply
from understudy_store.records import PromiseRecord, origin_of

if TYPE_CHECKING:
    from understudy.runtime import Runtime
    from understudy.testing.histories import History
    from understudy.values.seals import Sealer
    from understudy_store.engines.sqlite.store_reader import StoreReader


class AnySource(Source, Protocol):
    """A source that also finds one promise, and tasks."""

    @property
    def url(self) -> str:
        """The name of the source, for messages."""

    def find_promise(self, id: str) -> PromiseRecord | None:
        """Return a promise; None if it does not exist."""

    def tasks_of(self, ids: Iterable[str]) -> Sequence[Reply]:
        """Read the tasks of those promises that have one, as far as they are known."""


@contextmanager
def reading(
    runtime: Runtime, url: str | None, store: Path | None = None, history: Path | None = None
) -> Iterator[AnySource]:
    """Open the source that the options of a command name.

    Parameters
    ----------
    runtime
        The runtime that is to be given what is read. It serves nothing.
    url
        The address of the broker, unless there is a `store` or a `history`.
    """
    if sum(given is not None for given in (url, store, history)) > 1:
        raise UsageError("--url, --store and --history exclude each other: give one of them")
    borrow(runtime, url)
    if store is None and history is None:
        with Client(url, runtime=runtime) as client:
            client.connect()
            yield client
        return
    sealer = process_sealer(*runtime.session.seals)
    if sealer is not None:
        # As a connection does it.
        runtime.session.env.values.codec = Codec(runtime.session.pickle, sealer=sealer)
    if store is not None:
        from understudy_store.engines.sqlite.store_reader import StoreReader

        with StoreReader(store) as reader:
            yield StoreFile(reader, sealer)
    elif history is not None:
        from understudy.testing.histories import History

        yield HistoryFile(history, History.load(history))


class StoreFile:
    """The file of a store as a source."""

    def __init__(self, reader: StoreReader, sealer: Sealer | None) -> None:
        self._reader = reader
        self._sealed = None if sealer is None else SealedRecords(sealer)

    @property
    def url(self) -> str:
        """The path."""
        return str(self._reader.path)

    def promises(self, *, state: str | None = None, prefix: str = "") -> Iterator[PromiseRecord]:
        """Search promises, in the order of their ids."""
        cursor: str | None = None
        while True:
            reply = self._search(PromiseSearch(state, {}, prefix, None, PAGE_MAX, cursor))
            yield from reply.promises or ()
            cursor = reply.cursor
            if cursor is None:
                return

    def commands(self, commands: Sequence[PromiseSearch]) -> Iterator[Reply]:
        """Yield the replies to many searches, in order."""
        return map(self._search, commands)

    def find_promise(self, id: str) -> PromiseRecord | None:
        """Return a promise; None if it does not exist."""
        row = self._reader.find(id)
        if row is None:
            return None
        return row.promise if self._sealed is None else self._sealed.opened(row.promise)

    def tasks_of(self, ids: Iterable[str]) -> Sequence[Reply]:
        """Read the tasks of those promises that have one."""
        rows = map(self._reader.find, ids)
        return [Reply(200, None, row.promise, row.task) for row in rows if row and row.task]

    def _search(self, search: PromiseSearch) -> Reply:
        reply = self._reader.search(search)
        return reply if self._sealed is None else self._sealed.open_reply(reply)


class HistoryFile:
    """A file that `understudy.testing.record` has saved, as a source."""

    def __init__(self, path: Path, history: History) -> None:
        self._path = path
        self._history = history

    @property
    def url(self) -> str:
        """The path."""
        return str(self._path)

    def promises(self, *, state: str | None = None, prefix: str = "") -> Iterator[PromiseRecord]:
        """Search promises."""
        return (
            promise
            for promise in self._history.promises
            if promise.id.startswith(prefix) and state in (None, promise.state)
        )

    def commands(self, commands: Sequence[PromiseSearch]) -> Iterator[Reply]:
        """Yield the replies to many searches, in order."""
        for search in commands:
            found = self.promises(state=search.state, prefix=search.prefix)
            wanted = search.origin
            yield Reply(200, promises=[p for p in found if wanted in (None, origin_of(p))])

    def find_promise(self, id: str) -> PromiseRecord | None:
        """Return a promise; None if it does not exist."""
        return next((found for found in self.promises(prefix=id) if found.id == id), None)

    def tasks_of(self, ids: Iterable[str]) -> Sequence[Reply]:
        """Return nothing: a history has no tasks."""
        del ids
        return ()
