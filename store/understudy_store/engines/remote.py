"""The port to an engine behind a network that a caller's loop can use without a thread of its own.

A thread that only waits for an answer costs two wake-ups, and the interpreter changes hands twice.
Over a network a small commit takes no longer than that. So the loop itself sends it, waits for the
answer at a descriptor beside its others, and takes it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol, runtime_checkable

from understudy_store.changes import Changes
from understudy_store.engines.base import Engine
from understudy_store.records import Row


class BegunCommit(Protocol):
    """A commit that no thread waits for: `advance` until it is done."""

    @property
    def descriptor(self) -> int:
        """Becomes readable when `advance` is to be called."""

    def advance(self) -> bool | None:
        """Look at the commit, without waiting.

        Returns
        -------
        True: it is durable. False: it is not known yet. None: `complete` is to be called, because
        something has come between.
        """

    def complete(self) -> None:
        """Wait for the commit, and do what it takes to have it durable on return.

        Raises
        ------
        StoreError
            As for `Engine.commit`.
        """


@runtime_checkable
class RemoteEngine(Engine, Protocol):
    """An engine with commits that no thread waits for.

    One such commit is under way at a time. Until it is done, by `advance` or by `complete`, neither
    `commit` nor `begin` is called.
    """

    def find_known(self, ids: Collection[str]) -> list[Row] | None:
        """Return what `find` would, if memory tells; None: ask `find`. Never waits."""

    def begin(self, changes: Changes, epoch: int) -> BegunCommit | None:
        """Begin a commit as `commit` would do it, without waiting for anything.

        Returns
        -------
        The commit that is under way. None: nothing was begun, and `commit` is to be called with the
        same changes, which may have to wait or tells what is wrong with them.
        """
