"""A store's answers, waited for whether they come at once or later, because tests have no loop."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from queue import Queue
from typing import Final
from unittest import mock

from understudy_store import store as store_module
from understudy_store.changes import Changes
from understudy_store.engines.base import Read
from understudy_store.errors import StoreFailedError
from understudy_store.records import Row
from understudy_store.store import CommitResult, LookupResult, Store

WAIT_S: Final = 30.0


def found(store: Store, ids: Collection[str]) -> list[Row]:
    """Return the rows of `ids`.

    Raises
    ------
    StoreFailedError
        The store answers with it.
    """
    answers: Queue[LookupResult] = Queue()
    result = store.lookup(ids, answers.put)
    if result is None:
        result = answers.get(timeout=WAIT_S)
    if isinstance(result, StoreFailedError):
        raise result
    return result


def committed(store: Store, changes: Changes, reads: Sequence[Read] = ()) -> CommitResult:
    """Commit `changes`, and return the result."""
    answers: Queue[CommitResult] = Queue()
    result = store.commit(changes, reads, answers.put)
    return answers.get(timeout=WAIT_S) if result is None else result


@contextmanager
def commits_by_writer() -> Iterator[None]:
    """Leave every commit to the store's writer thread, however small it is."""
    with mock.patch.object(store_module, "INLINE_ROWS_MAX", -1):
        yield
