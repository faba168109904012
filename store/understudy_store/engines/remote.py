"""The port to an engine behind a network that a caller's loop can use without a thread of its own.

A thread that only waits for an answer costs two wake-ups, and the interpreter changes hands twice.
Over a network a small commit takes no longer than that. So the loop itself sends it, waits for the
answer at a descriptor beside its others, and takes it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol, TypeVar, runtime_checkable

from understudy_store.changes import Changes
from understudy_store.commands import Reply
from understudy_store.engines.base import Engine
from understudy_store.records import Row

T_co = TypeVar("T_co", covariant=True)


class Begun(Protocol[T_co]):
    """A find or a commit that no thread waits for: `advance` until it is done."""

    @property
    def descriptor(self) -> int:
        """Becomes readable when `advance` is to be called."""

    @property
    def result(self) -> T_co:
        """The answer, once `advance` has returned True."""

    def advance(self) -> bool | None:
        """Take what has come, without waiting.

        Returns
        -------
        True: it is done, and `result` is there. False: not yet. None: `complete` is to be called,
        because something has come between, or the answer takes more than was asked for.
        """

    def complete(self) -> T_co:
        """Wait for the answer, and do what it takes to have it on return.

        Raises
        ------
        StoreError
            As for `Engine.find` and `Engine.commit`.
        """


@runtime_checkable
class RemoteEngine(Engine, Protocol):
    """An engine with finds and commits that no thread waits for, one of each at a time.

    Until it is done, by `advance` or by `complete`, no other find or no other commit is asked for.
    """

    def find_known(self, ids: Collection[str]) -> list[Row] | None:
        """Return what `find` would, if memory tells; None: ask otherwise. Never waits."""

    def begin_find(self, ids: Collection[str]) -> Begun[list[Row]] | None:
        """Begin a find without waiting for anything; None: ask `find`."""

    def begin(self, changes: Changes, epoch: int) -> Begun[list[Reply]] | None:
        """Begin a commit as `commit` would do it, without waiting for anything.

        None: nothing was begun, and `commit` is to be called with the same changes, which may have
        to wait or tells what is wrong with them.
        """
