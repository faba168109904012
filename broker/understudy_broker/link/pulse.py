"""`Pulse`: a second connection of a node, which shows that its process lives. It needs no Python.

A function may hold Python's interpreter for longer than the lease, and no heartbeat is sent then.
ZeroMQ's own thread goes on meanwhile. So a node has a second connection to its broker, on which
that thread sends a ping several times per lease, with the time for which to wait for the next one.
If none comes in that time, because the process was stopped or cut off, the broker's side closes the
connection, and the broker learns it like the end of any other.

It is a connection of its own, because on the first one a ping waits behind large messages: on a
slow network a node that sends them would be taken for dead.

If the connection ends while the process lives (the broker was stopped for a while), a new one is
made. Until then, and if none can be made, the node's heartbeats alone keep its lease.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import trio
import zmq

from understudy_broker.keys.peer_keys import PeerKeys
from understudy_broker.protocol.frames import encode
from understudy_broker.protocol.messages import Pulse as PulseMessage
from understudy_broker.transport.curve import as_client
from understudy_broker.transport.host_names import is_ipv6
from understudy_broker.transport.loop_lock import LoopThread
from understudy_broker.transport.monitor import ConnectionMonitor

#: pings in the time of a lease
PINGS_PER_LEASE: Final = 8
#: ZeroMQ counts the time to wait for the next ping in these units
_TTL_UNIT_MS: Final = 100
#: longer than any broker is silent: only the broker's side judges by the pings
_NEVER_MS: Final = 24 * 3_600_000


class Pulse:
    """The pulse of one connection to a broker, made and run on the loop of the link.

    Parameters
    ----------
    url
        The broker's numeric address. A broker in this process, at an ``inproc`` address, gets no
        pulse: whatever keeps the node from running keeps the broker from running too.
    keys
        Those of the first connection.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], url: str, keys: PeerKeys | None = None
    ) -> None:
        self._keys = keys
        self._context = context
        self._url = url
        self._loop = LoopThread()
        self._wanted = trio.Event()
        self._pid = ""
        self._lease_ttl_ms = 0

    def start(self, pid: str, lease_ttl_ms: int) -> None:
        """Begin, under the name that the broker has welcomed; `keep` must be running."""
        if not self._url.startswith("inproc:"):
            self._pid, self._lease_ttl_ms = pid, lease_ttl_ms
            self._loop.run(self._wanted.set)

    async def keep(self) -> None:
        """Keep a pulse up from `start` on, until canceled."""
        await self._wanted.wait()
        while True:
            # EAGAIN if the connection has closed before the message was sent, EMFILE if there is no
            # descriptor left. The node goes on: its heartbeats alone keep its lease.
            with suppress(zmq.ZMQError):
                await self._connect_once()
            await trio.sleep(self._lease_ttl_ms / PINGS_PER_LEASE / 1000)

    async def _connect_once(self) -> None:
        """Open a connection, and return when it has ended."""
        socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        try:
            await self._show(socket)
        finally:
            socket.close(0)

    async def _show(self, socket: zmq.Socket[bytes]) -> None:
        interval_ms = max(self._lease_ttl_ms // PINGS_PER_LEASE, 1)
        socket.set(zmq.LINGER, 0)
        as_client(socket, self._keys)
        socket.set(zmq.IPV6, int(is_ipv6(self._url)))
        # Another connection would be a stranger to the broker, so ZeroMQ must not make one itself.
        socket.set(zmq.RECONNECT_IVL, -1)
        socket.set(zmq.HEARTBEAT_IVL, interval_ms)
        socket.set(zmq.HEARTBEAT_TTL, max(self._lease_ttl_ms - interval_ms, _TTL_UNIT_MS))
        socket.set(zmq.HEARTBEAT_TIMEOUT, _NEVER_MS)
        monitor = ConnectionMonitor(socket, zmq.Event.DISCONNECTED | zmq.Event.CLOSED)
        try:
            socket.connect(self._url)
            socket.send(encode([PulseMessage(self._pid)]), zmq.DONTWAIT)
            await monitor.wait()
        finally:
            monitor.close()
