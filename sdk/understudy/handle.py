"""Handles: how ordinary code, trio and asyncio wait for a call."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from typing import Any, Generic, TypeVar

from understudy.errors import ConfigurationError, PayloadTooLargeError, WaitTimeoutError
from understudy_actors.errors import CommandError
from understudy_broker.protocol.messages import Refused, Response
from understudy_store.commands import Reply
from understudy_store.records import PromiseRecord

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Handle(Generic[T_co]):
    """A call or promise, to wait for; `Runtime.rpc`, `Runtime.run` and `Runtime.get` make one.

    Under trio and asyncio, ``await handle`` waits for the result. Losing a handle loses nothing:
    the same id attaches to the call again.

    Examples
    --------
    >>> @runtime.register
    ... def add(ctx, a, b):
    ...     return a + b
    >>> handle = runtime.rpc("add-1", add, 1, 2)
    >>> handle.result(timeout=10)
    3
    """

    __slots__ = ("_cancel", "_decode", "_future", "_id", "_stored")

    def __init__(
        self,
        id: str,
        stored: Future[None],
        future: Future[PromiseRecord],
        decode: Callable[[PromiseRecord], Any],
        cancel: Callable[[str], None],
    ) -> None:
        self._id = id
        self._stored = stored
        self._future = future
        self._decode = decode
        self._cancel = cancel

    @property
    def id(self) -> str:
        """The promise's id."""
        return self._id

    def __repr__(self) -> str:
        return f"<Handle {self._id} {'done' if self.done() else 'pending'}>"

    def done(self) -> bool:
        """Return whether the result, or the failure, has arrived.

        Returns
        -------
        bool
            True if `result` would not have to wait.

        Examples
        --------
        >>> made = runtime.promises.create("approval-1")
        >>> handle = runtime.get("approval-1")
        >>> handle.done()
        False
        """
        return self._future.done()

    def result(self, timeout: float | timedelta | None = None) -> T_co:
        """Wait for the result of the call.

        This blocks the thread; on an event loop use ``await handle``.

        Parameters
        ----------
        timeout : float or timedelta, optional
            Seconds to wait; by default as long as it takes.

        Returns
        -------
        object
            The value that the function returned.

        Raises
        ------
        Exception
            The error that the function raised, as the exception that it was, or a `RemoteError` if
            its class is not known here.
        CanceledError
            The call was canceled.
        DeadlineExceededError
            The call was still pending at its deadline.
        WaitTimeoutError
            The call is still pending after `timeout`. It goes on: ask again, or attach later with
            the same id. This is also a TimeoutError.
        ConfigurationError
            `timeout` is not a number of seconds.

        Examples
        --------
        >>> from understudy import WaitTimeoutError
        >>> made = runtime.promises.create("approval-2")
        >>> handle = runtime.get("approval-2")
        >>> try:
        ...     handle.result(timeout=0.1)
        ... except WaitTimeoutError:
        ...     print("not yet")
        not yet
        >>> made = runtime.promises.resolve("approval-2", "yes")
        >>> handle.result()
        'yes'
        """
        timeout_s = None if timeout is None else wait_seconds(timeout)
        try:
            record = self._future.result(timeout_s)
        except TimeoutError:
            # The future may hold a TimeoutError of its own, which is what waiting failed with.
            if timeout_s is None or self._future.done():
                raise
            raise WaitTimeoutError(self._id, timeout_s) from None
        value: T_co = self._decode(record)
        return value

    def __await__(self) -> Generator[Any, Any, T_co]:
        return self._wait().__await__()

    async def _wait(self) -> T_co:
        value: T_co = self._decode(await wait_future(self._future))
        return value

    async def wait_stored(self) -> None:
        """Wait until the call is on disk: for code on an event loop, where `rpc` does not wait.

        Raises
        ------
        UnderstudyError
            The call was refused, or no broker answers; see `Runtime.rpc`.

        Examples
        --------
        >>> import trio
        >>> @runtime.register
        ... def greet(ctx, name):
        ...     return f"Hello, {name}!"
        >>> async def main():
        ...     handle = runtime.rpc("greet-1", greet, "Ann")
        ...     await handle.wait_stored()
        ...     return await handle
        >>> trio.run(main)
        'Hello, Ann!'
        """
        await wait_future(self._stored)

    def cancel(self) -> None:
        """Cancel the call and, in its call graph, everything that it still waits for.

        Whoever waits for it gets `CanceledError`. A settled call stays as it is.

        Raises
        ------
        CommandError
            With status 404 if it does not exist.

        Examples
        --------
        >>> from understudy import CanceledError
        >>> handle = runtime.options(delay=60).rpc("late-1", "report")
        >>> handle.cancel()
        >>> try:
        ...     handle.result()
        ... except CanceledError:
        ...     print("canceled")
        canceled
        """
        self._cancel(self._id)


def wait_seconds(timeout: float | timedelta) -> float:
    """Check how long to wait; a time in the past, which a subtraction may give, is no time."""
    given: object = timeout
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ConfigurationError(f"timeout={timeout!r}: it must be seconds, or a timedelta")
    if not seconds < threading.TIMEOUT_MAX:
        raise ConfigurationError(f"timeout={timeout!r}: give None to wait for as long as it takes")
    return max(float(seconds), 0.0)


async def wait_future(future: Future[T]) -> T:
    """Wait for a future of another thread, under trio or asyncio; canceling is harmless."""
    trio = _trio()
    if trio is not None and trio.lowlevel.in_trio_run():
        if not future.done():
            token, event = trio.lowlevel.current_trio_token(), trio.Event()

            def wake(_: Future[T]) -> None:
                try:
                    token.run_sync_soon(event.set)
                except trio.RunFinishedError:
                    return

            future.add_done_callback(wake)
            await event.wait()
        return future.result()
    import asyncio  # slow to import; here the caller has loaded it already

    if not future.done():
        loop = asyncio.get_running_loop()
        settled = loop.create_future()

        def settle() -> None:
            if not settled.done():
                settled.set_result(None)

        def tell(_: Future[T]) -> None:
            with suppress(RuntimeError):  # The loop is closed, so nothing waits any more.
                loop.call_soon_threadsafe(settle)

        future.add_done_callback(tell)
        await settled
    return future.result()


def _trio() -> Any:
    """Return trio if this process has loaded it; otherwise no trio loop can be running."""
    return sys.modules.get("trio")


def in_async_code() -> bool:
    """Return whether the caller runs on an event loop, which must not be blocked."""
    trio = _trio()
    if trio is not None and trio.lowlevel.in_trio_run():
        return True
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def refusal(answer: Refused | Response) -> BaseException | None:
    """Return the error that an answer stands for; None if the command was carried out."""
    if isinstance(answer, Refused):
        return CommandError(answer.status, answer.error)
    reply: Reply = answer.reply
    if reply.ok:
        return None
    if reply.status == 413:
        return PayloadTooLargeError(reply.error or "the payload", None, 0)
    return CommandError(reply.status, reply.error or "refused")
