"""Finds and commits as a broker's loop makes them: no thread waits, where the engine allows it."""

from __future__ import annotations

import select
from collections.abc import Collection
from queue import SimpleQueue
from typing import Final, TypeVar

from understudy_store.changes import Changes
from understudy_store.engines.remote import Begun, RemoteEngine
from understudy_store.errors import StoreFailedError
from understudy_store.records import Row
from understudy_store.store import CommitResult, Store

T = TypeVar("T")

#: seconds after which a commit is stuck
LIMIT_S: Final = 120.0


def commit_in_a_loop(store: Store, changes: Changes) -> None:
    """Commit as the loop of a broker does, and return when it is done.

    Raises
    ------
    StoreFailedError
    """
    results: SimpleQueue[CommitResult] = SimpleQueue()
    result = store.commit(changes, [], results.put, attended=True)
    while result is None and (descriptor := store.attended_commit.descriptor) is not None:
        _wait_for(descriptor)
        result = store.attended_commit.advance()
    if result is None:
        result = results.get(timeout=LIMIT_S)
    if isinstance(result, StoreFailedError):
        raise result


def commit_attended(engine: RemoteEngine, changes: Changes, epoch: int) -> None:
    """Begin a commit and attend to it, or have it done if that cannot be.

    Raises
    ------
    StoreError
    """
    begun = engine.begin(changes, epoch)
    if begun is None:
        engine.commit(changes, [], epoch)
    else:
        attend(begun)


def attend(begun: Begun[T]) -> T:
    """Wait for what was begun, and return the answer.

    Raises
    ------
    StoreError
    """
    while (done := begun.advance()) is False:
        _wait_for(begun.descriptor)
    return begun.result if done else begun.complete()


def find_attended(engine: RemoteEngine, ids: Collection[str]) -> list[Row]:
    """Find as the loop of a broker does.

    Raises
    ------
    StoreError
    """
    known = engine.find_known(ids)
    if known is not None:
        return known
    begun = engine.begin_find(ids)
    return engine.find(ids) if begun is None else attend(begun)


def _wait_for(descriptor: int) -> None:
    if not select.select([descriptor], [], [], LIMIT_S)[0]:
        raise AssertionError(f"no answer to a commit within {LIMIT_S} s")
