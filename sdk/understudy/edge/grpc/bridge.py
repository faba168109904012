"""The bridge from an asyncio loop to a trio loop, each in a thread of its own.

A request that arrives on the asyncio loop is performed by a task on the trio loop. Its result or
its error crosses, and its cancellation: when the asyncio side is canceled, so is the trio side, at
its next checkpoint. In a stream, the trio side sends one part, and goes on when the asyncio side
asks for the next. So at most one part is held between them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import trio

from understudy_broker.transport.loop_lock import LoopThread

T = TypeVar("T")


class BridgeClosedError(Exception):
    """The trio side has ended."""


class Bridge:
    """The bridge. Its methods belong to the asyncio side.

    Must be made on the trio loop.

    Parameters
    ----------
    nursery
        Has the tasks on the trio loop.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._trio = LoopThread()
        self._nursery = nursery

    async def call(self, operation: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Have an operation performed on the trio loop, and return its result.

        Raises
        ------
        BridgeClosedError
            The trio loop performs nothing any more. Otherwise, what the operation raises.
        """
        crossing: _Crossing[T] = _Crossing()
        self._trio.run_soon(self._start, crossing, operation, args)
        try:
            return await crossing.result
        finally:
            if not crossing.result.done() or crossing.result.cancelled():
                self._trio.run_soon(crossing.scope.cancel)

    async def stream(
        self, operation: Callable[..., Awaitable[None]], *args: Any
    ) -> AsyncGenerator[Any, None]:
        """Have an operation performed on the trio loop, and yield the parts that it sends.

        The operation gets a function to send with as its last argument. Close the iterator when you
        leave it (`contextlib.aclosing`), so that the operation ends; raises as `call`.
        """
        crossing: _Crossing[None] = _Crossing()
        parts = _Parts(self._trio, crossing.loop)
        self._trio.run_soon(self._start, crossing, operation, (*args, parts.send))
        try:
            while True:
                part = asyncio.ensure_future(parts.next())
                try:
                    await asyncio.wait((part, crossing.result), return_when=asyncio.FIRST_COMPLETED)
                    if not part.done():
                        await crossing.result
                        return
                    yield part.result()
                finally:
                    part.cancel()
                parts.go_on()
        finally:
            crossing.leave()
            self._trio.run_soon(crossing.scope.cancel)

    def _start(
        self,
        crossing: _Crossing[T],
        operation: Callable[..., Awaitable[T]],
        args: tuple[Any, ...],
    ) -> None:
        try:
            self._nursery.start_soon(crossing.run, operation, args)
        except RuntimeError:  # the nursery is closed
            crossing.fail(BridgeClosedError())


class _Crossing(Generic[T]):
    """One operation: its result on the asyncio side, and its scope on the trio side."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.result: asyncio.Future[T] = self.loop.create_future()
        self.scope = trio.CancelScope()

    async def run(self, operation: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> None:
        """Perform the operation, on the trio loop."""
        is_told = False
        try:
            with self.scope:
                try:
                    result = await operation(*args)
                except Exception as error:
                    self.fail(error)
                else:
                    self._tell(_set_result, self.result, result)
                is_told = True
        finally:
            if not is_told:
                self.fail(BridgeClosedError())

    def fail(self, error: Exception) -> None:
        """Pass an error over to the asyncio side."""
        self._tell(_set_error, self.result, error)

    def leave(self) -> None:
        """Take note that nobody wants the result any more."""
        if not self.result.cancel() and not self.result.cancelled():
            self.result.exception()  # asyncio would report one that nobody has seen

    def _tell(self, function: Callable[..., object], *args: object) -> None:
        with suppress(RuntimeError):  # the asyncio loop has ended
            self.loop.call_soon_threadsafe(function, *args)


class _Parts:
    """The parts of a stream, one at a time."""

    def __init__(self, trio_thread: LoopThread, loop: asyncio.AbstractEventLoop) -> None:
        self._trio = trio_thread
        self._loop = loop
        self._arrived: asyncio.Queue[Any] = asyncio.Queue()
        self._is_taken: trio.Event | None = None

    async def send(self, part: Any) -> None:
        """Send a part, and return once it is taken; on the trio loop."""
        taken = self._is_taken = trio.Event()
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, part)
        await taken.wait()

    async def next(self) -> Any:
        """Return the next part; on the asyncio loop."""
        return await self._arrived.get()

    def go_on(self) -> None:
        """Let the trio side go on."""
        taken = self._is_taken
        if taken is not None:
            self._trio.run_soon(taken.set)


def _set_result(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _set_error(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
