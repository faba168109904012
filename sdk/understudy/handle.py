"""Handles: how ordinary code, trio and asyncio wait for a call."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Protocol, TypeVar, overload

from understudy.errors import ConfigurationError, PayloadTooLargeError, WaitTimeoutError
from understudy.options import check_bool
from understudy.wait_notices import pauses_s
from understudy_actors.errors import refused
from understudy_actors.lent_slots import has_slot, while_lent
from understudy_broker.protocol.messages import Refused, Response
from understudy_store.commands import Reply
from understudy_store.records import PromiseRecord

if TYPE_CHECKING:
    import asyncio

#: Seconds after which a function that waits for a call lends its slot to another.
LEND_AFTER_S: Final = 0.02

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class OwnerPort(Protocol):
    """The connection that a handle belongs to."""

    os_pid: int


class CallsPort(Protocol):
    """The calls of this process, as a handle uses them."""

    def attach(self, id: str) -> tuple[OwnerPort, Future[PromiseRecord]]: ...
    def cancel(self, id: str) -> Awaitable[None]: ...
    def look(self, id: str) -> None: ...


class Handle(Generic[T_co]):
    """A call or promise, to wait for; `Runtime.rpc`, `Runtime.run` and `Runtime.get` make one.

    Under trio and asyncio, ``await handle`` waits for the result, with the same warnings as
    `result`. Losing a handle loses nothing: the same id attaches to the call again. A process that
    was forked with a handle may wait for it too: the handle then attaches again by itself.

    Examples
    --------
    >>> @runtime.register
    ... def add(ctx, a, b):
    ...     return a + b
    >>> handle = runtime.rpc("add-1", add, 1, 2)
    >>> handle.result(timeout=10)
    3
    """

    __slots__ = ("_calls", "_connection", "_decode", "_future", "_id", "_stored")

    def __init__(
        self,
        id: str,
        stored: Future[None],
        future: Future[PromiseRecord],
        decode: Callable[[PromiseRecord], Any],
        calls: CallsPort,
        connection: OwnerPort,
    ) -> None:
        self._id = id
        self._stored = stored
        self._future = future
        self._decode = decode
        self._calls = calls
        self._connection = connection

    @property
    def id(self) -> str:
        """The promise's id."""
        return self._id

    def __repr__(self) -> str:
        if self._connection.os_pid != os.getpid():
            return f"<Handle {self._id} of process {self._connection.os_pid}>"
        return f"<Handle {self._id} {'done' if self._future.done() else 'pending'}>"

    def _attach(self) -> None:
        """Attach to the call again if this process was forked after the handle was made.

        The reply to the parent's request does not come here. Its futures are not even looked at,
        because a thread of the parent may have held their locks at the moment of the fork.
        """
        if self._connection.os_pid != os.getpid():
            self._connection, self._future = self._calls.attach(self._id)
            self._stored = Future()
            self._stored.set_result(None)

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
        self._attach()
        return self._future.done()

    def result(self, timeout: float | timedelta | None = None) -> T_co:
        """Wait for the result of the call.

        This blocks the thread; on an event loop use ``await handle``. If it takes more than a few
        seconds and something keeps the call, or what it waits for, from going on, a warning on the
        logger ``understudy`` says so: an attempt has failed, and when the next one comes; it is
        parked, and why; or no node has its function.

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
        self._attach()
        try:
            record = self._looked_after(timeout_s)
        except TimeoutError:
            # The future may hold a TimeoutError of its own, which is what waiting failed with.
            if timeout_s is None or self._future.done():
                raise
            raise WaitTimeoutError(self._id, timeout_s) from None
        value: T_co = self._decode(record)
        return value

    def _looked_after(self, timeout_s: float | None) -> PromiseRecord:
        """Wait for the promise, and now and then look why it takes so long."""
        left_s = timeout_s
        for pause_s in self._looks():
            if left_s is not None and left_s <= pause_s:
                break
            try:
                return _blocking_result(self._future, pause_s)
            except TimeoutError:
                if self._future.done():
                    raise
            left_s = None if left_s is None else left_s - pause_s
        return _blocking_result(self._future, left_s)

    def _looks(self) -> Iterator[float]:
        """Yield the seconds to wait; if that was not enough, look why before the next are asked."""
        for pause_s in pauses_s(self._id):
            yield pause_s
            self._calls.look(self._id)

    def __await__(self) -> Generator[Any, Any, T_co]:
        return self._wait().__await__()

    async def _wait(self) -> T_co:
        self._attach()
        value: T_co = self._decode(await wait_future(self._future, self._looks()))
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
        self._attach()
        await wait_future(self._stored)

    def cancel(self) -> Awaitable[None]:
        """Cancel the call and, in its call graph, everything that it still waits for.

        Whoever waits for it gets `CanceledError`. A settled call stays as it is. On an event loop
        this returns at once, and ``await`` waits until the broker has done it.

        Returns
        -------
        Awaitable
            On an event loop, to wait until it is done; None in a thread, where it is done then.

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
        return self._calls.cancel(self._id)


class Handles(Sequence[Handle[T_co]]):
    """The handles of several calls, in order; `Runtime.map` makes them.

    It is a sequence of `Handle`. Under trio and asyncio, ``await handles`` waits for all results.

    Examples
    --------
    >>> @runtime.register
    ... def double(ctx, number):
    ...     return number * 2
    >>> handles = runtime.map("doubles", double, [1, 2, 3])
    >>> handles[1].id, handles[1].result()
    ('doubles/1', 4)
    >>> handles.results()
    [2, 4, 6]
    """

    __slots__ = ("_handles",)

    def __init__(self, handles: Iterable[Handle[T_co]]) -> None:
        self._handles = tuple(handles)

    @overload
    def __getitem__(self, index: int) -> Handle[T_co]: ...
    @overload
    def __getitem__(self, index: slice) -> Handles[T_co]: ...
    def __getitem__(self, index: int | slice) -> Handle[T_co] | Handles[T_co]:
        if isinstance(index, slice):
            return Handles(self._handles[index])
        return self._handles[index]

    def __len__(self) -> int:
        return len(self._handles)

    def __repr__(self) -> str:
        done = sum(handle.done() for handle in self._handles)
        return f"<Handles of {len(self):,} calls, {done:,} done>"

    @overload
    def results(
        self,
        timeout: float | timedelta | None = None,
        *,
        return_exceptions: Literal[False] = False,
    ) -> list[T_co]: ...
    @overload
    def results(
        self, timeout: float | timedelta | None = None, *, return_exceptions: bool
    ) -> list[T_co | BaseException]: ...
    def results(
        self, timeout: float | timedelta | None = None, *, return_exceptions: bool = False
    ) -> list[Any]:
        """Wait for the results of all calls.

        This blocks the thread; on an event loop use ``await handles``.

        Parameters
        ----------
        timeout : float or timedelta, optional
            Seconds to wait in all; by default as long as it takes.
        return_exceptions : bool, optional
            Whether failures stand among the values, as exceptions. By default the first one is
            raised.

        Returns
        -------
        list
            The values, in the order of the calls.

        Raises
        ------
        Exception
            The first failure in that order; see `Handle.result`. A note on it names the call.
        WaitTimeoutError
            A call is still pending after `timeout`. All go on.
        ConfigurationError
            `timeout` is not a number of seconds, or `return_exceptions` is no bool.

        Examples
        --------
        >>> from understudy import Never
        >>> @runtime.register(retry=Never())
        ... def inverse(ctx, number):
        ...     return 1 / number
        >>> handles = runtime.map("inverses", inverse, [4, 0])
        >>> [str(value) for value in handles.results(return_exceptions=True)]
        ['0.25', 'division by zero']
        """
        check_bool("return_exceptions", return_exceptions)
        end = None if timeout is None else time.monotonic() + wait_seconds(timeout)
        values: list[Any] = []
        for place, handle in enumerate(self._handles):
            try:
                values.append(
                    handle.result(None if end is None else max(0.0, end - time.monotonic()))
                )
            except WaitTimeoutError:
                raise
            except Exception as error:
                _note_call(error, place, handle.id)
                if not return_exceptions:
                    raise
                values.append(error)
        return values

    def __await__(self) -> Generator[Any, Any, list[T_co]]:
        return self._wait().__await__()

    async def _wait(self) -> list[T_co]:
        values = []
        for place, handle in enumerate(self._handles):
            try:
                values.append(await handle)
            except Exception as error:
                _note_call(error, place, handle.id)
                raise
        return values

    async def wait_stored(self) -> None:
        """Wait until all calls are on disk: for code on an event loop, where `map` does not wait.

        Raises
        ------
        UnderstudyError
            A call was refused, or no broker answers; see `Runtime.rpc`.

        Examples
        --------
        >>> import trio
        >>> @runtime.register
        ... def double(ctx, number):
        ...     return number * 2
        >>> async def main():
        ...     handles = runtime.map("later", double, [1, 2])
        ...     await handles.wait_stored()
        ...     return await handles
        >>> trio.run(main)
        [2, 4]
        """
        for handle in self._handles:
            await handle.wait_stored()


def _note_call(error: BaseException, place: int, id: str) -> None:
    with suppress(Exception):  # The class is a user's own. Its failure counts, not our note.
        error.add_note(f"item {place} of runtime.map, counted from 0: id {id}")


def wait_seconds(timeout: float | timedelta) -> float:
    """Check how long to wait; a time in the past, which a subtraction may give, is no time."""
    given: object = timeout
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ConfigurationError(f"timeout={timeout!r}: it must be seconds, or a timedelta")
    if not seconds < threading.TIMEOUT_MAX:
        raise ConfigurationError(f"timeout={timeout!r}: give None to wait for as long as it takes")
    return max(float(seconds), 0.0)


def _blocking_result(future: Future[T], timeout_s: float | None) -> T:
    """Wait for a future on this thread, and lend the caller's slot unless it is quick."""
    if has_slot() and (timeout_s is None or timeout_s > LEND_AFTER_S):
        began = time.monotonic()
        with suppress(TimeoutError):
            return future.result(LEND_AFTER_S)
        if future.done():
            return future.result()
        with while_lent():
            if timeout_s is not None:
                timeout_s = max(0.0, timeout_s - (time.monotonic() - began))
            return future.result(timeout_s)
    return future.result(timeout_s)


async def wait_future(future: Future[T], looks: Iterator[float] | None = None) -> T:
    """Wait for a future of another thread, under trio or asyncio; canceling is harmless.

    Parameters
    ----------
    looks
        Endless; gives the seconds after which the next item is to be asked for.
    """
    trio = _trio()
    if trio is not None and trio.lowlevel.in_trio_run():
        if not future.done():
            import understudy.trio_timers as timers  # Only here, because it imports trio.

            token, event = trio.lowlevel.current_trio_token(), trio.Event()

            def wake(_: Future[T]) -> None:
                try:
                    token.run_sync_soon(event.set)
                except trio.RunFinishedError:
                    return

            future.add_done_callback(wake)
            timer = None if looks is None else timers.start(looks)
            try:
                with while_lent():
                    await event.wait()
            finally:
                if timer is not None:
                    timer.stop()
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
        with while_lent(), _Timer(loop, looks):
            await settled
    return future.result()


class _Timer:
    """Asks for the next of `looks` on an asyncio loop, when the seconds before it are over.

    Parameters
    ----------
    looks
        See `wait_future`; with None it does nothing.
    """

    __slots__ = ("_handle", "_looks", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, looks: Iterator[float] | None) -> None:
        self._loop = loop
        self._looks = looks
        self._handle: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._next()

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _next(self) -> None:
        if self._looks is not None:
            self._handle = self._loop.call_later(next(self._looks), self._next)


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
        return refused(answer.status, answer.error)
    reply: Reply = answer.reply
    if reply.ok:
        return None
    if reply.status == 413:
        return PayloadTooLargeError(reply.error or "the payload", None, 0)
    return refused(reply.status, reply.error or "refused")
