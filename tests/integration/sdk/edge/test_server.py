"""The sockets of an edge have bounds, and what is under way at its end may finish."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final, TypeAlias

import pytest
import trio
from starlette.types import ASGIApp, Receive, Scope, Send

from understudy.edge import server
from understudy.edge.server import Limits, bind, serve

_GET: Final = b"GET /%s HTTP/1.1\r\nhost: x\r\n\r\n"
#: more than the buffers of two sockets hold
_LARGE: Final = 1 << 26


_Connect: TypeAlias = Callable[[], Awaitable[trio.SocketStream]]


class _App:
    """Answers at once, with very much, or when it is told to, as the path says."""

    def __init__(self) -> None:
        self.go_on = trio.Event()
        self.waits = trio.Event()
        self.cut_off = trio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b"done"
        if scope["path"] == "/later":
            self.waits.set()
            await self.go_on.wait()
        elif scope["path"] == "/large":
            body = bytes(_LARGE)
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        if scope["path"] == "/large":
            self.cut_off.set()


@asynccontextmanager
async def _serving(app: ASGIApp, limits: Limits) -> AsyncIterator[tuple[_Connect, trio.Event]]:
    """Serve while the block runs, or until an event is set; gives how to connect."""
    sock = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    stop = trio.Event()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:

            async def connect() -> trio.SocketStream:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                return await stack.enter_async_context(stream)

            nursery.start_soon(serve, app, sock, limits, stop.wait)
            yield connect, stop
            stop.set()


async def _read_all(stream: trio.SocketStream) -> bytes:
    data = b""
    async for part in stream:
        data += part
    return data


async def _status(stream: trio.SocketStream, path: bytes) -> bytes:
    """Ask over a connection that stays open; return the first line and the body's end."""
    await stream.send_all(_GET % path)
    data = b""
    while not data.endswith(b"done"):
        part = await stream.receive_some()
        assert part, data
        data += part
    return data.partition(b"\r\n")[0]


async def test_connections_beyond_the_bound_are_refused_in_words() -> None:
    async with _serving(_App(), Limits(connections_max=2)) as (connect, _):
        first = await connect()
        second = await connect()
        assert await _status(first, b"") == b"HTTP/1.1 200 "
        assert await _status(second, b"") == b"HTTP/1.1 200 "
        third = await connect()
        refused = await _read_all(third)
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in refused
        assert b"as many connections as it may" in refused
        # there is room once another one is closed
        await first.aclose()
        while True:
            fourth = await connect()
            await fourth.send_all(_GET % b"")
            answer = await fourth.receive_some()
            await fourth.aclose()
            if answer.startswith(b"HTTP/1.1 200 "):
                break
        await second.aclose()


async def test_a_head_that_is_too_large_is_refused() -> None:
    async with _serving(_App(), Limits(head_bytes_max=4096)) as (connect, _):
        stream = await connect()
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"x" * 8192)
        assert (await _read_all(stream)).startswith(b"HTTP/1.1 4")


async def test_a_client_that_says_nothing_is_not_waited_for() -> None:
    async with _serving(_App(), Limits(idle_s=0.1)) as (connect, _):
        stream = await connect()
        assert await _read_all(stream) == b""


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    app = _App()
    async with _serving(app, Limits(write_timeout_s=0.2)) as (connect, _):
        stream = await connect()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stream.send_all(_GET % b"large")
        await app.cut_off.wait()
        try:
            read = len(await _read_all(stream))
        except trio.BrokenResourceError:
            read = 0
        assert read < _LARGE


async def test_a_request_under_way_at_the_end_may_finish() -> None:
    app = _App()
    async with _serving(app, Limits()) as (connect, stop):
        busy = await connect()
        idle = await connect()
        await idle.send_all(b"GET / HTTP/1.1\r\n")
        await busy.send_all(_GET % b"later")
        await app.waits.wait()
        stop.set()
        # nobody else is let in
        while True:
            try:
                late = await connect()
            except OSError:
                break
            await late.aclose()
        app.go_on.set()
        assert (await _read_all(busy)).endswith(b"done")


async def test_the_end_does_not_wait_for_ever() -> None:
    app = _App()
    async with _serving(app, Limits(drain_s=0.1)) as (connect, stop):
        stream = await connect()
        await stream.send_all(_GET % b"later")
        await app.waits.wait()
        stop.set()
        assert b"done" not in await _read_all(stream)


async def test_a_client_that_reads_slowly_gets_all() -> None:
    """The whole takes several times as long as it may take nothing."""
    limits = Limits(write_timeout_s=0.2)
    async with _serving(_App(), limits) as (connect, _):
        stream = await connect()
        await stream.send_all(_GET % b"large")
        got, began = 0, trio.current_time()
        while got < _LARGE:
            got += len(await stream.receive_some(1 << 20))
            await trio.sleep(0.01)
        assert trio.current_time() - began > 2 * limits.write_timeout_s


async def test_answers_that_nobody_reads_have_a_bound_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "ANSWERS_BYTES_MAX", 2 * _LARGE)
    async with _serving(_App(), Limits()) as (connect, _):
        streams = [await connect() for _ in range(3)]
        for stream in streams:
            await stream.send_all(_GET % b"large")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_break_off, streams[2], nursery.cancel_scope)
        # There is room again once another one has been read.
        assert (await _read_until(streams[0], _LARGE)) >= _LARGE
        again = await connect()
        await again.send_all(_GET % b"large")
        assert (await _read_until(again, _LARGE)) >= _LARGE


async def _break_off(stream: trio.SocketStream, done: trio.CancelScope) -> None:
    """Read until the answer breaks off, before it is whole."""
    assert await _read_until(stream, _LARGE) < _LARGE
    done.cancel()


async def _read_until(stream: trio.SocketStream, size: int) -> int:
    got = 0
    with suppress(trio.BrokenResourceError):
        while got < size and (part := await stream.receive_some(1 << 20)):
            got += len(part)
    return got
