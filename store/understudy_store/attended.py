"""Finds and commits that the caller's loop attends to by itself, instead of a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

from understudy_store.engines.remote import Begun
from understudy_store.errors import StoreFailedError

T = TypeVar("T")

OnDone: TypeAlias = "Callable[[T | StoreFailedError], None]"


class Attended(Generic[T]):
    """One find or one commit at a time that was begun, and that its caller looks after.

    Parameters
    ----------
    leave_to_thread
        Has a thread complete what was begun, and call what is to be told.
    """

    def __init__(self, leave_to_thread: Callable[[Begun[T], OnDone[T]], None]) -> None:
        self._leave_to_thread = leave_to_thread
        self._under_way: tuple[Begun[T], OnDone[T]] | None = None

    def attend(self, begun: Begun[T] | None, on_done: OnDone[T]) -> bool:
        """Take what was begun; return False if that is nothing. `on_done` is told by a thread."""
        if begun is None:
            return False
        self._under_way = begun, on_done
        return True

    @property
    def descriptor(self) -> int | None:
        """When it becomes readable, `advance` is to be called; None: there is nothing under way."""
        return None if self._under_way is None else self._under_way[0].descriptor

    def advance(self) -> T | None:
        """Take what has come, without waiting.

        Returns
        -------
        The answer; None, if it is not there yet, or if nothing is under way any more because a
        thread completes it.
        """
        if self._under_way is None:
            return None
        begun = self._under_way[0]
        done = begun.advance()
        if done is None:
            self.leave()
        if not done:
            return None
        self._under_way = None
        return begun.result

    def leave(self) -> None:
        """Have a thread complete what is under way, if something is."""
        if self._under_way is not None:
            (begun, on_done), self._under_way = self._under_way, None
            self._leave_to_thread(begun, on_done)
