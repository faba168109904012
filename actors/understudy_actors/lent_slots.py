"""Lent slots: a function whose thread waits for another call gives its slot away meanwhile.

A node performs so many functions at a time (its concurrency). A plain function that waits for a
call to its own group in `Handle.result` would hold a slot that the call may need: with one slot
neither could ever go on. So whoever blocks a thread until a promise settles does it `while_lent`,
and the pool to which the thread belongs begins another run in its place.

A coroutine shares the thread of its loop with others. Its lender is found by a context variable,
which is also set on threads that it starts with `asyncio.to_thread` or `trio.to_thread.run_sync`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from understudy_actors.interpreter.routine import Routine


class Lender(Protocol):
    """The pool that a worker's thread belongs to, or the run of a coroutine."""

    def lend(self) -> bool:
        """Let another run begin while the caller waits; False: too many slots are lent."""

    def take_back(self) -> None:
        """Note that the caller goes on."""


class RunLender(Lender, Protocol):
    """The run of a coroutine."""

    @property
    def routine(self) -> Routine: ...


class _Thread(threading.local):
    """Facts about the calling thread."""

    #: the pool that the thread belongs to; None: it is no worker
    lender: Lender | None = None
    #: waits that are under way; several, if the function runs an event loop of its own
    waits: int = 0
    lent: bool = False


_THREAD = _Thread()

#: the run of the coroutine that the caller belongs to
_RUN: ContextVar[RunLender | None] = ContextVar("_RUN", default=None)


def join(lender: Lender) -> None:
    """Make the calling thread one of `lender`'s workers."""
    _THREAD.lender = lender


def join_run(lender: RunLender) -> None:
    """Make what runs with the current context variables a part of a coroutine's run."""
    _RUN.set(lender)


def routine_here() -> Routine | None:
    """Return the routine of the coroutine that the caller is a part of; None: of none."""
    lender = _RUN.get()
    return None if lender is None else lender.routine


def _after_fork_in_child() -> None:
    # Pool and loop stay with the parent. If the child waits, no other run may begin there.
    _THREAD.lender = None
    _RUN.set(None)


os.register_at_fork(after_in_child=_after_fork_in_child)


def has_slot() -> bool:
    """Return whether the caller has a slot to lend."""
    return _THREAD.lender is not None or _RUN.get() is not None


def while_lent() -> AbstractContextManager[None]:
    """Lend the slot of the caller, if it has one, while the body waits."""
    return _while_lent() if has_slot() else nullcontext()


@contextmanager
def _while_lent() -> Iterator[None]:
    thread = _THREAD
    lender = thread.lender
    if lender is None:
        run = _RUN.get()
        if run is None or not run.lend():
            yield
            return
        try:
            yield
        finally:
            run.take_back()
        return
    if thread.waits == 0:
        thread.lent = lender.lend()
    thread.waits += 1
    try:
        yield
    finally:
        thread.waits -= 1
        if thread.waits == 0 and thread.lent:
            lender.take_back()
