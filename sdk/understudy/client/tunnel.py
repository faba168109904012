"""Tunnels: the way to brokers through an edge, where only HTTP gets through.

Each broker has an entrance, a port on loopback. ZeroMQ connects to it as to the broker itself; the
bytes travel in a WebSocket to the edge, which passes them on to the broker. So a node or client is
a peer like any other, and the brokers notice its end as they do elsewhere.

The loop of the links runs everything here. Needs the extra [http].
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final
from urllib.parse import SplitResult, urlencode, urlsplit

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from understudy.client.address import is_http
from understudy_broker.address import split_addresses
from understudy_broker.keys.peer_keys import PeerKeys
from understudy_broker.link.way import Way

#: where an edge takes tunnels
PATH: Final = "/tunnel"
#: bytes that are read at a time
READ_BYTES: Final = 65_536
#: how long an edge may take to answer before the next one is tried
_CONNECT_S: Final = 3.0


class Tunnels:
    """The tunnels of one process, as a `Way`.

    Parameters
    ----------
    url
        The address of an edge, or several with commas between them, of which any will do.
    keys
        Those that the brokers ask for. The edge learns nothing of them, nor of what is encrypted.
    """

    def __init__(self, url: str, nursery: trio.Nursery, keys: PeerKeys | None = None) -> None:
        self.keys = keys
        self.obstacle: str | None = None
        self._url = url
        self._edges = split_addresses(url)
        self._nursery = nursery
        self._entrances: dict[str, str] = {}

    def entrance(self, url: str) -> str:
        """Return the entrance to the broker at `url`; of an edge, that to any broker."""
        broker = "" if any(map(is_http, split_addresses(url))) else url
        known = self._entrances.get(broker)
        if known is None:
            listening = socket.create_server(("127.0.0.1", 0))
            listening.setblocking(False)
            known = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
            self._entrances[broker] = known
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
            serve = partial(trio.serve_listeners, partial(self._carry, broker), [listener])
            self._nursery.start_soon(serve)
        return known

    async def _carry(self, broker: str, stream: trio.SocketStream) -> None:
        """Carry one connection, through the first edge that takes it."""
        async with stream:
            problems: list[str] = []
            for edge in list(self._edges):
                try:
                    await self._carry_through(edge, broker, stream)
                except* (HandshakeError, OSError, trio.TooSlowError) as group:
                    problems.append(f"{edge}: {_why(group)}")
                else:
                    return
                # The next connection begins with another edge.
                self._edges.remove(edge)
                self._edges.append(edge)
            self.obstacle = f"no edge leads to a broker ({'; '.join(problems)})"

    async def _carry_through(self, edge: str, broker: str, stream: trio.SocketStream) -> None:
        parts = urlsplit(edge)
        resource = parts.path.rstrip("/") + PATH
        if broker:
            resource += f"?{urlencode({'broker': broker})}"
        outside = await _connect(parts)
        try:
            async with trio.open_nursery() as nursery:
                with trio.fail_after(_CONNECT_S):
                    tunnel = await wrap_client_stream(nursery, outside, parts.netloc, resource)
                self.obstacle = None
                nursery.start_soon(_send, tunnel, stream, nursery.cancel_scope)
                nursery.start_soon(_receive, tunnel, stream, nursery.cancel_scope)
        finally:
            await trio.aclose_forcefully(outside)


async def _connect(parts: SplitResult) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    host, is_safe = parts.hostname or "", parts.scheme == "https"
    with trio.fail_after(_CONNECT_S):
        stream = await trio.open_tcp_stream(host, parts.port or (443 if is_safe else 80))
    if not is_safe:
        return stream
    return trio.SSLStream(
        stream, ssl.create_default_context(), server_hostname=host, https_compatible=True
    )


async def _send(
    tunnel: WebSocketConnection, stream: trio.SocketStream, scope: trio.CancelScope
) -> None:
    try:
        while data := await stream.receive_some(READ_BYTES):
            await tunnel.send_message(bytes(data))
    except (ConnectionClosed, trio.BrokenResourceError):
        pass
    scope.cancel()


async def _receive(
    tunnel: WebSocketConnection, stream: trio.SocketStream, scope: trio.CancelScope
) -> None:
    try:
        while True:
            message = await tunnel.get_message()
            if isinstance(message, bytes):
                await stream.send_all(message)
    except (ConnectionClosed, trio.BrokenResourceError):
        pass
    scope.cancel()


def _why(group: BaseExceptionGroup[BaseException]) -> str:
    """Return in words why an edge takes no tunnel."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ConnectionRejected):
        body = (error.body or b"")[:200].decode(errors="replace").strip()
        return f"status {error.status_code}" + (f", {body}" if body else "")
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, trio.TooSlowError):
        return "it does not answer"
    return str(error) or type(error).__name__


@asynccontextmanager
async def open_tunnels(url: str, keys: PeerKeys | None = None) -> AsyncIterator[Way]:
    """Lead connections through the edge at `url`, or one of several, while the block runs."""
    async with trio.open_nursery() as nursery:
        yield Tunnels(url, nursery, keys)
        nursery.cancel_scope.cancel()
