"""Commits as a broker's loop makes them: no thread waits for them, where the engine allows it."""

from __future__ import annotations

import select
from queue import SimpleQueue
from typing import Final

from understudy_store.changes import Changes
from understudy_store.engines.remote import BegunCommit, RemoteEngine
from understudy_store.errors import StoreFailedError
from understudy_store.store import CommitResult, Store

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
    while result is None and store.descriptor is not None:
        _wait_for(store.descriptor)
        result = store.advance()
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


def attend(begun: BegunCommit) -> None:
    """Wait for a commit that was begun.

    Raises
    ------
    StoreError
    """
    while (written := begun.advance()) is False:
        _wait_for(begun.descriptor)
    if written is None:
        begun.complete()


def _wait_for(descriptor: int) -> None:
    if not select.select([descriptor], [], [], LIMIT_S)[0]:
        raise AssertionError(f"no answer to a commit within {LIMIT_S} s")
