"""Searches of the broker's store, one after the other, beside its commits.

The core says which search is next, once what it must see is committed (`core/search_queue.py`); the
store answers it on a thread of its own, with a time limit (`Store.search`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from understudy_broker.core.core import BrokerCore
from understudy_broker.core.pauses import Fact
from understudy_broker.server.archive import append, lines
from understudy_store.commands import Reply
from understudy_store.errors import StoreFailedError
from understudy_store.store import SearchResult, Store


class Searches:
    """Makes the core's searches. Used by the loop's thread only.

    Parameters
    ----------
    archive
        The file for what is to be deleted; None: there is none.
    wake
        Wakes the loop. Called on a thread of the store.
    """

    def __init__(
        self, store: Store, core: BrokerCore, wake: Callable[[], None], archive: str | None = None
    ) -> None:
        self._store = store
        self._core = core
        self._wake = wake
        self._archive = None if archive is None else Path(archive)
        #: The answer, until the next turn. The store's thread writes it, and it is not asked again
        #: before the loop has taken it, so one thread writes the field at a time.
        self._result: SearchResult | None = None

    def begin(self) -> None:
        """Begin the next search, if there is one and none is under way."""
        read = None if self._core.held else self._core.searches.take()
        if isinstance(read, Fact):
            self._store.keep_fact(read.key, read.text, self._on_done)
        elif read is not None:
            self._store.search(read, self._core.config.search_ms / 1000, self._on_done)

    def take_answer(self) -> None:
        """Give the core the answer, if it is there.

        Raises
        ------
        StoreFailedError
            The store cannot be used any more.
        """
        result = self._result
        if result is not None:
            self._result = None
            if isinstance(result, StoreFailedError):
                raise result
            self._core.searches.answered(result)

    def _on_done(self, result: SearchResult) -> None:
        """Leave the answer for the loop; called on a thread of the store.

        What is to be deleted is in the archive by then, or is not deleted.
        """
        if self._archive is not None and isinstance(result, Reply) and result.ended:
            try:
                if data := lines(result.ended):
                    append(self._archive, data)
            except OSError as error:
                why = f"nothing was deleted: the archive {self._archive}: {error.strerror}"
                result = Reply(503, why)
        self._result = result
        self._wake()
