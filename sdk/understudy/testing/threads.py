"""The threads around a simulation: users' functions, the threads that drive it, one lock.

The simulator itself is not safe for threads. Its lock is held by the thread that makes a move, and
is free only while a user's function runs, so that the function may use the very runtime that it
runs on. No thread sees a move half made, because a function runs only as the last act of a move.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final, TypeVar

from understudy.handle import in_async_code

T = TypeVar("T")

#: Stands for a thread that has not started, in the list of threads inside a function.
UNKNOWN_THREAD: Final = -1


class SimulationThreads:
    """The lock of a simulation, and a record of the threads that are at work in it.

    All methods but `driving` must be called with `lock` held.
    """

    def __init__(self) -> None:
        self.lock: Final = threading.Condition(threading.Lock())
        # One entry per step under way, because functions nest: one may wait for another.
        self._inside: list[int] = []
        self._driving: list[int] = []
        self._loops: set[int] = set()

    @contextmanager
    def driving(self) -> Iterator[None]:
        """Hold the lock, and count this thread among those that make moves."""
        thread = threading.get_ident()
        with self.lock:
            self._driving.append(thread)
            try:
                yield
            finally:
                self._driving.remove(thread)
                self.lock.notify_all()

    @contextmanager
    def inside_function(self) -> Iterator[None]:
        """Release the lock while this thread runs a user's function."""
        thread = threading.get_ident()
        self._inside.append(thread)
        self.lock.release()
        try:
            yield
        finally:
            self.lock.acquire()
            self._inside.remove(thread)
            self.lock.notify_all()

    def enter(self, thread: int) -> None:
        """Note that the loop `thread` runs one more step of a coroutine."""
        self._inside.append(thread)

    def leave(self, thread: int) -> None:
        """Note that the loop `thread` has ended a step of a coroutine."""
        self._inside.remove(thread)

    def loop_started(self, thread: int) -> None:
        """Write down the number of a loop's thread, which has been entered as unknown so far."""
        self._loops.add(thread)
        self._inside[self._inside.index(UNKNOWN_THREAD)] = thread

    def is_inside_function(self) -> bool:
        """Return whether this thread is inside a user's function."""
        return threading.get_ident() in self._inside

    def is_loop(self) -> bool:
        """Return whether this thread runs the loop of ``async def`` functions.

        The only method that needs no lock: the threads of loops are never removed.
        """
        return threading.get_ident() in self._loops

    def is_occupied(self) -> bool:
        """Return whether a function runs in a thread that may yet go on by itself."""
        return any(thread not in self._driving for thread in self._inside)

    def coroutine_count(self) -> int:
        """Return the number of steps of coroutines under way."""
        return sum(thread in self._loops for thread in self._inside)


def run_off_loop(function: Callable[[], T]) -> T:
    """Call `function` where no event loop runs, so that it may start one of its own."""
    __tracebackhide__ = True
    if not in_async_code():
        return function()
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=work, name="understudy-stage", daemon=True)
    thread.start()
    thread.join()
    return future.result()
