"""Tunnels: nodes and clients that reach the brokers through an edge, by WebSockets.

The bytes of one connection go through as they are; see `understudy.client.tunnel` for the other
end. An edge leads to brokers of its own deployment only.
"""

from __future__ import annotations

from typing import Final

import trio
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from understudy.edge.edge import Edge

PATH: Final = "/tunnel"
READ_BYTES: Final = 65_536
#: how long a broker may take to accept a connection
CONNECT_S: Final = 3.0
#: codes of RFC 6455: this end goes away, and a reason of another kind
_GOING_AWAY: Final = 1001
_NO_BROKER: Final = 1011
_REFUSED: Final = 1008


def tunnel_route(edge: Edge) -> WebSocketRoute:
    """Return the route of the tunnels."""

    async def tunnel(websocket: WebSocket) -> None:
        addresses = edge.brokers.addresses(websocket.query_params.get("broker", ""))
        if not addresses or edge.tunnels >= edge.settings.tunnels_max or edge.draining.is_set():
            await websocket.close(_REFUSED)
            return
        edge.tunnels += 1
        try:
            await _carry(edge, websocket, addresses)
        finally:
            edge.tunnels -= 1

    return WebSocketRoute(PATH, tunnel)


async def _carry(edge: Edge, websocket: WebSocket, addresses: list[str]) -> None:
    stream = await _connected(addresses)
    if stream is None:
        await websocket.close(_NO_BROKER)
        return
    async with stream, trio.open_nursery() as nursery:
        await websocket.accept()
        nursery.start_soon(_receive, websocket, stream, nursery.cancel_scope)
        nursery.start_soon(_send, websocket, stream, nursery.cancel_scope)
        await edge.draining.wait()
        nursery.cancel_scope.cancel()


async def _connected(addresses: list[str]) -> trio.SocketStream | None:
    """Connect to the first broker that accepts."""
    for address in addresses:
        scheme, _, place = address.partition("://")
        with trio.move_on_after(CONNECT_S):
            try:
                if scheme == "ipc":
                    return await trio.open_unix_socket(place)
                host, _, port = place.rpartition(":")
                return await trio.open_tcp_stream(host.strip("[]"), int(port))
            except OSError:
                continue
    return None


async def _receive(
    websocket: WebSocket, stream: trio.SocketStream, scope: trio.CancelScope
) -> None:
    """Pass on what comes from the peer."""
    try:
        while True:
            await stream.send_all(await websocket.receive_bytes())
    except (WebSocketDisconnect, trio.BrokenResourceError, KeyError):
        scope.cancel()


async def _send(websocket: WebSocket, stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    """Pass on what comes from the broker, and end the tunnel with its connection."""
    try:
        while data := await stream.receive_some(READ_BYTES):
            await websocket.send_bytes(bytes(data))
    except (WebSocketDisconnect, trio.BrokenResourceError):
        scope.cancel()
        return
    await websocket.close(_GOING_AWAY)
    scope.cancel()
