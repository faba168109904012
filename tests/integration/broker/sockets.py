"""Asynchronous calls on a `TrioSocket` that only tests need."""

from __future__ import annotations

import trio
import zmq

from understudy_broker.transport.socket import TrioSocket


async def receive_batch(socket: TrioSocket, frames_max: int = 1024) -> list[list[bytes]]:
    """Wait until something can be received, and receive what is there."""
    while True:
        received = socket.receive_nowait(frames_max)
        if received:
            await trio.lowlevel.checkpoint()
            return received
        await socket.wait()


async def wait_writable(socket: TrioSocket) -> None:
    """Return when a send may succeed. Useless for a ROUTER, where it always may."""
    await socket.wait(events=zmq.POLLOUT)
    while not socket.socket.poll(0, zmq.POLLOUT):
        await socket.wait(events=zmq.POLLOUT)
