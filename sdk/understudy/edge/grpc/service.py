"""The service on the asyncio loop: requests with their bounds, answers and statuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from grpc import StatusCode, aio

from understudy.edge.grpc.bearers import performed, watched
from understudy.edge.grpc.bridge import Bridge, BridgeClosedError
from understudy.edge.grpc.operations import Operations
from understudy.edge.grpc.statuses import Refusal, refusal_of
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.tokens.gate import TokenGate

NAME: Final = v1.DESCRIPTOR.services_by_name["Understudy"].full_name
#: An answer to a wait leaves so long before the deadline: a tenth of the time, within these.
MARGIN_MIN_S: Final = 0.1
MARGIN_MAX_S: Final = 1.0

_LOG: Final = logging.getLogger("understudy.edge")

M = TypeVar("M", bound=Message)
Context = aio.ServicerContext[Any, Any]


def time_left_s(remaining_s: float | None) -> float:
    """Return how long a wait may take, so that its answer arrives before the client's deadline.

    Parameters
    ----------
    remaining_s
        The time until the deadline; None: there is none.

    Examples
    --------
    >>> time_left_s(30), time_left_s(1), time_left_s(0.02), time_left_s(None)
    (29.0, 0.9, 0.0, inf)
    """
    if remaining_s is None:
        return float("inf")
    margin_s = min(max(remaining_s / 10, MARGIN_MIN_S), MARGIN_MAX_S)
    return max(remaining_s - margin_s, 0.0)


def parsed(request_type: type[M], data: bytes) -> M:
    """Return the message that some bytes are.

    Raises
    ------
    Refusal
        They are none. (grpc itself would answer with UNKNOWN, and log it as an error of ours.)
    """
    try:
        return request_type.FromString(data)
    except DecodeError:
        raise Refusal(
            StatusCode.INVALID_ARGUMENT, f"the message is no {request_type.DESCRIPTOR.full_name}"
        ) from None


class Places:
    """Places for requests that last.

    Parameters
    ----------
    most
        How many there are.
    name
        The requests, in a refusal.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take a place within the block.

        Raises
        ------
        Refusal
            There is none.
        """
        if self._taken >= self._most:
            raise Refusal(
                StatusCode.RESOURCE_EXHAUSTED,
                f"{self._taken:,} {self._name} at this edge, as many as may: try again, or at "
                "another edge",
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


class Service:
    """The methods of the service.

    Parameters
    ----------
    waiting_max, streams_max
        Requests that may wait, and streams that may be open.
    write_timeout_s
        How long a client may take nothing of a stream.
    """

    def __init__(
        self,
        bridge: Bridge,
        operations: Operations,
        gate: TokenGate | None,
        waiting_max: int,
        streams_max: int,
        write_timeout_s: float,
    ) -> None:
        self._bridge = bridge
        self._operations = operations
        self._gate = gate
        self._waits = Places(waiting_max, "requests wait")
        self._streams = Places(streams_max, "streams are open")
        self._write_timeout_s = write_timeout_s
        self._idle = asyncio.Event()
        self._idle.set()
        self._running = 0

    def handler(self) -> grpc.GenericRpcHandler:
        """Return all methods, for a server."""
        ask = self._operations
        unary = {
            "Start": self._unary(v1.StartRequest, v1.Call, self._start, StatusCode.ALREADY_EXISTS),
            "Get": self._unary(v1.GetRequest, v1.Call, self._simple(ask.get)),
            "Wait": self._unary(v1.WaitRequest, v1.Call, self._wait),
            "Settle": self._unary(v1.SettleRequest, v1.Call, self._simple(ask.settle)),
            "Cancel": self._unary(v1.CancelRequest, v1.Call, self._simple(ask.cancel)),
            "List": self._unary(v1.ListRequest, v1.ListResponse, self._simple(ask.list)),
        }
        stream: grpc.RpcMethodHandler[Any, Any] = grpc.unary_stream_rpc_method_handler(
            self._watch, response_serializer=v1.WatchEvent.SerializeToString
        )
        return grpc.method_handlers_generic_handler(NAME, {**unary, "Watch": stream})

    async def until_idle(self) -> None:
        """Return once no request is under way."""
        await self._idle.wait()

    # Methods -------------------------------------------------------------------------------------

    async def _start(self, request: v1.StartRequest, context: Context) -> v1.Call:
        if not request.wait:
            headers = _headers(context)
            return await self._call(context, self._operations.start, request, 0.0, headers)
        with self._waits.one():
            left_s = time_left_s(context.time_remaining())
            headers = _headers(context)
            return await self._call(context, self._operations.start, request, left_s, headers)

    async def _wait(self, request: v1.WaitRequest, context: Context) -> v1.Call:
        with self._waits.one():
            left_s = time_left_s(context.time_remaining())
            return await self._call(context, self._operations.wait, request, left_s)

    async def _watch(self, data: bytes, context: Context) -> None:
        with self._counted():
            try:
                request = parsed(v1.WatchRequest, data)
                with self._streams.one():
                    watch = partial(watched, self._gate, _authorization(context))
                    parts = self._bridge.stream(watch, self._operations.watch, request)
                    async with aclosing(parts):
                        async for part in parts:
                            for event in part:
                                await self._write(context, event)
            except Exception as error:
                await _abort(context, error, StatusCode.FAILED_PRECONDITION)

    async def _write(self, context: Context, event: v1.WatchEvent) -> None:
        try:
            async with asyncio.timeout(self._write_timeout_s):
                await context.write(event)
        except TimeoutError:
            raise Refusal(
                StatusCode.RESOURCE_EXHAUSTED, "the client does not read what it is sent"
            ) from None

    async def _call(
        self, context: Context, operation: Callable[..., Awaitable[M]], *args: Any
    ) -> M:
        """Have an operation performed for the bearer of the request's token."""
        perform = partial(performed, self._gate, _authorization(context))
        return await self._bridge.call(perform, operation, *args)

    # Around them ---------------------------------------------------------------------------------

    def _simple(
        self, operation: Callable[[Any], Awaitable[Any]]
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        async def perform(request: Any, context: Context) -> Any:
            return await self._call(context, operation, request)

        return perform

    def _unary(
        self,
        request_type: Any,
        answer_type: Any,
        perform: Callable[[Any, Context], Awaitable[Any]],
        conflict: StatusCode = StatusCode.FAILED_PRECONDITION,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        async def answer(data: bytes, context: Context) -> Any:
            with self._counted():
                try:
                    return await perform(parsed(request_type, data), context)
                except Exception as error:
                    await _abort(context, error, conflict)

        behavior: Any = answer
        return grpc.unary_unary_rpc_method_handler(
            behavior, response_serializer=answer_type.SerializeToString
        )

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()


def _authorization(context: Context) -> list[str | bytes]:
    """Return the values of all metadata ``authorization``."""
    metadata = context.invocation_metadata() or ()
    return [value for name, value in metadata if name == "authorization"]


async def _abort(context: Context, error: Exception, conflict: StatusCode) -> NoReturn:
    refusal = refusal_of(error, conflict)
    if isinstance(error, BridgeClosedError):
        refusal = Refusal(StatusCode.UNAVAILABLE, "this edge ends: repeat at another one")
    elif refusal is None:
        _LOG.error("a request failed", exc_info=error)
        name = type(error).__name__
        refusal = Refusal(
            StatusCode.INTERNAL, f"unexpected error: {name}; the edge's log says more"
        )
    await context.abort(refusal.code, refusal.text)
    raise AssertionError("abort raises")


def _headers(context: Context) -> dict[str, str]:
    """Return the metadata of a request that is text; of a repeated name, the last."""
    metadata = context.invocation_metadata() or ()
    return {name: value for name, value in metadata if isinstance(value, str)}
