"""Handles: a call from outside, and how to wait for it from sync code, trio or asyncio."""

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
    """A promise somewhere in the system. Made by `Runtime.rpc`, `run` and `get`.

    Losing a handle loses nothing: the same id attaches again.
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
        """Whether the result, or the failure, is here."""
        return self._future.done()

    def result(self, timeout: float | timedelta | None = None) -> T_co:
        """Block until it is settled; its value, or the exception that it failed with.

        Raises
        ------
        TimeoutError
            It was not settled within `timeout` seconds. The call goes on; ask again, or attach
            later with the same id.
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
        """Return when the call is stored durably (sync code need not: `rpc` waits for that)."""
        await wait_future(self._stored)

    def cancel(self) -> None:
        """Cancel it and all that it still waits for; waiting for it raises `CanceledError`."""
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
    """Wait for a future of another thread, under trio or asyncio; a cancel leaves it alone."""
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
    import asyncio  # only where the caller has it loaded already: it is slow to import

    if not future.done():
        loop = asyncio.get_running_loop()
        settled = loop.create_future()

        def settle() -> None:
            if not settled.done():
                settled.set_result(None)

        def tell(_: Future[T]) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle)

        future.add_done_callback(tell)
        await settled
    return future.result()


def _trio() -> Any:
    """The module, where the process has loaded it: else nobody runs its loop."""
    return sys.modules.get("trio")


def in_async_code() -> bool:
    """Whether the caller runs on an event loop, which must not be blocked."""
    trio = _trio()
    if trio is not None and trio.lowlevel.in_trio_run():
        return True
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def refusal(answer: Refused | Response) -> BaseException | None:
    """The exception for an answer that is no success; None for one that is."""
    if isinstance(answer, Refused):
        return CommandError(answer.status, answer.error)
    reply: Reply = answer.reply
    if reply.ok:
        return None
    if reply.status == 413:
        return PayloadTooLargeError(reply.error or "the payload", None, 0)
    return CommandError(reply.status, reply.error or "refused")
