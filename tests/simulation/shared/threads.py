"""Threads of simulated processes, and what they wait for: the names that `threading` gives them.

A thread is a greenlet. It runs until it waits, and the world resumes it with an event of its own.
So one thread runs at a time, whatever they do is in the world's order, and between any two waits
the process may be stopped or killed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent, greenlet

if TYPE_CHECKING:
    from tests.simulation.world import World


class Killed(BaseException):
    """The process of the thread has ended; nothing that it does has any effect."""


class Process:
    """A process: its threads, its clocks, and whether it runs.

    Parameters
    ----------
    skew_ms
        Returns how far the machine's wall clock is ahead.
    """

    def __init__(self, world: World, name: str, skew_ms: Callable[[], int]) -> None:
        self.world = world
        self.name = name
        self.skew_ms = skew_ms
        self.alive = True
        #: Tells the loop of the process that what it attends to has news.
        self.news: Callable[[], object] = int
        self.frozen_until = 0
        #: Until when it was stopped, or could not reach the database, the last time.
        self.hindered_until = world.now
        self._hub = getcurrent()
        self._threads: dict[_Strand, None] = {}

    def freeze(self, until: int) -> None:
        """Stop it until this time."""
        self.frozen_until = until
        self.hindered_until = max(self.hindered_until, until)

    def spawn(self, target: Callable[[], object]) -> _Strand:
        """Begin a thread soon."""
        strand = _Strand(self, target, self._hub)
        self._threads[strand] = None
        self.later(0, lambda: strand.resume(None))
        return strand

    def forget(self, strand: _Strand) -> None:
        """Forget a thread that has ended."""
        self._threads.pop(strand, None)

    def later(self, ms: int, act: Callable[[], object]) -> None:
        """Call `act` in `ms`, or when the process thaws, if it is still alive then."""

        def due() -> None:
            if not self.alive:
                return
            if self.frozen_until > self.world.now:
                self.world.after(self.frozen_until - self.world.now, due)
            else:
                act()

        self.world.after(ms, due)

    def kill(self) -> None:
        """End all threads where they are."""
        self.alive = False
        for strand in list(self._threads):
            strand.end()
        self._threads.clear()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run as the main thread of this process, which must not wait."""
        before, Here.process = Here.process, self
        try:
            yield
        finally:
            Here.process = before


class Here:
    """The process whose code runs at the moment."""

    process: Process | None = None


def here() -> Process:
    """Return the process whose code runs at the moment."""
    assert Here.process is not None, "no simulated process runs"
    return Here.process


class _Strand(greenlet):
    """A thread."""

    def __init__(self, process: Process, target: Callable[[], object], hub: greenlet) -> None:
        super().__init__(self._perform, hub)
        self.process = process
        self._target = target
        self.joined: list[Wait] = []

    def _perform(self, _: object) -> None:
        try:
            self._target()
        except Killed:
            pass
        finally:
            self.process.forget(self)
            for wait in self.joined:
                wait.fire(True)

    def resume(self, value: object) -> None:
        """Go on until the next wait; called by the world."""
        if self.process.alive:
            with self.process.running():
                self.switch(value)

    def end(self) -> None:
        """End it where it waits; called by the world."""
        if bool(self) and not self.dead:
            with self.process.running():
                self.throw(Killed)


class Wait:
    """The wait of the thread that makes it."""

    __slots__ = ("_strand", "is_over")

    def __init__(self) -> None:
        strand = getcurrent()
        assert isinstance(strand, _Strand), "the main thread of a simulated process waits"
        if not strand.process.alive:
            raise Killed
        self._strand = strand
        self.is_over = False

    def block(self, timeout_s: float | None = None) -> Any:
        """Wait until `fire`, and return its value; None after the timeout."""
        strand = self._strand
        if timeout_s is not None and timeout_s != math.inf:
            strand.process.world.after(max(0, math.ceil(timeout_s * 1000)), self._lapse)
        assert strand.parent is not None
        value = strand.parent.switch()
        if not strand.process.alive:
            raise Killed
        return value

    def _lapse(self) -> None:
        self.fire(None)

    def fire(self, value: object, ms: int = 0) -> bool:
        """End the wait in `ms`, unless it is over."""
        if self.is_over:
            return False
        self.is_over = True
        strand = self._strand
        strand.process.later(ms, lambda: strand.resume(value))
        return True

    def end(self, value: object) -> None:
        """End the wait with the present event; called by the world."""
        strand = self._strand
        if strand.process.frozen_until > strand.process.world.now:
            self.fire(value)
        elif not self.is_over:
            self.is_over = True
            strand.resume(value)


class Answer:
    """An answer that no thread waits for, or one that comes to it later.

    Attributes
    ----------
    value
        The answer, once it is over.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._wait: Wait | None = None
        self.is_over = False
        self.value: object = None

    def block(self) -> None:
        """Have the calling thread wait for it."""
        if not self.is_over:
            self._wait = Wait()
            self._wait.block()

    def fire(self, value: object, ms: int = 0) -> None:
        """Let it come in `ms`."""
        self._process.later(ms, lambda: self.end(value))

    def end(self, value: object) -> None:
        """Let it come, also where the process is stopped: it finds it when it goes on."""
        if self.is_over or not self._process.alive:
            return
        self.is_over, self.value = True, value
        if self._wait is not None:
            self._wait.fire(None)
        else:
            self._process.later(0, self._process.news)


class Thread:
    """`threading.Thread`, as far as it is used."""

    def __init__(
        self, target: Callable[[], object], name: str = "", daemon: bool | None = None
    ) -> None:
        del name, daemon
        self._process = here()
        self._target = target
        self._strand: _Strand | None = None

    def start(self) -> None:
        self._strand = self._process.spawn(self._target)

    def join(self) -> None:
        strand = self._strand
        if strand is not None and not strand.dead:
            wait = Wait()
            strand.joined.append(wait)
            wait.block()


class Event:
    """`threading.Event`."""

    def __init__(self) -> None:
        self._is_set = False
        self._waits: list[Wait] = []

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        waits, self._waits = self._waits, []
        for wait in waits:
            wait.fire(True)

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        if self._is_set:
            return True
        wait = Wait()
        self._waits.append(wait)
        is_set = bool(wait.block(timeout))
        if wait in self._waits:
            self._waits.remove(wait)
        return is_set


class Lock:
    """`threading.Lock`."""

    def __init__(self) -> None:
        self._is_held = False
        self._waits: deque[Wait] = deque()

    def acquire(self, *, blocking: bool = True) -> bool:
        while self._is_held:
            if not blocking:
                return False
            wait = Wait()
            self._waits.append(wait)
            wait.block()
        self._is_held = True
        return True

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        self._is_held = False
        if self._waits:
            self._waits.popleft().fire(True)


class SimpleQueue:
    """`queue.SimpleQueue`, for one reader."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._wait: Wait | None = None

    def __class_getitem__(cls, _: object) -> type[SimpleQueue]:
        return cls

    def put(self, item: object) -> None:
        self._items.append(item)
        if self._wait is not None:
            self._wait.fire(True)

    def get(self) -> Any:
        while not self._items:
            self._wait = Wait()
            self._wait.block()
            self._wait = None
        return self._items.popleft()


class Time:
    """The module `time`, as far as it is used: clocks of the process that asks."""

    CLOCK_BOOTTIME = CLOCK_MONOTONIC = 1

    @staticmethod
    def monotonic() -> float:
        """Seconds since the epoch of the world."""
        return here().world.now / 1000

    @staticmethod
    def clock_gettime(_: int) -> float:
        return here().world.now / 1000

    @staticmethod
    def clock_gettime_ns(_: int) -> int:
        return here().world.now * 1_000_000

    @staticmethod
    def time_ns() -> int:
        """Nanoseconds, by the wall clock of the machine."""
        process = here()
        return (process.world.now + process.skew_ms()) * 1_000_000

    @staticmethod
    def sleep(seconds: float) -> None:
        Wait().block(seconds)
