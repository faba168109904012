"""Searches of a table that lags behind its journal: they wait until it has what they must see.

A search must see every commit that was done before it. It has the follower bring them to the table
at once, and waits for that; commits go on in the other half of the journal meanwhile. Then it reads
the table alone, and nobody waits for it.
"""

from __future__ import annotations

from threading import Event
from typing import Protocol

from understudy_store.commands import Reply, RetentionRead
from understudy_store.engines.base import Read
from understudy_store.errors import StoreError


class Searchable(Protocol):
    """The table, as searches see it."""

    def search(self, read: Read, time_limit_s: float) -> Reply:
        """Answer a search as of one moment, beside everything else that is done with the table."""


class Searcher:
    """Makes searches, one at a time, and counts which commits the table has.

    Parameters
    ----------
    flush_now
        Set to have the follower write to the table at once.
    """

    def __init__(self, table: Searchable, flush_now: Event) -> None:
        self._table = table
        self._flush_now = flush_now
        #: Commits that finds see, those of them that are sealed, and those that the table has. Each
        #: is written under a lock of the journaled table.
        self._added = self._sealed = self._written = 0
        #: set when the table has more commits, and when it will get no more; a search clears it
        self._has_more = Event()
        self._end: StoreError | None = None

    def search(self, read: Read, time_limit_s: float) -> Reply:
        """Answer a search from the table once it has all commits so far.

        Raises
        ------
        SearchTimeoutError, StoreClosedError, StoreError
            As for `Engine.search`.
        """
        wanted = self._added
        if isinstance(read.command, RetentionRead) and not read.command.fresh:
            wanted = 0
        while True:
            self._has_more.clear()
            if self._end is not None:
                raise self._end
            if self._written >= wanted:
                return self._table.search(read, time_limit_s)
            # Again each time, because the follower may have had to write older ones first.
            self._flush_now.set()
            self._has_more.wait()

    def added(self) -> None:
        """Note a commit that finds see from now on."""
        self._added += 1

    def sealed(self) -> None:
        """Note that all commits so far are sealed."""
        self._sealed = self._added

    def written(self) -> None:
        """Note that the table has what is sealed."""
        self._written = self._sealed
        self._has_more.set()

    def end(self, error: StoreError) -> None:
        """Let no search wait any more: the table may get no more commits."""
        self._end = error
        self._has_more.set()
