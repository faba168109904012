"""The pulse of a node: a connection on which ZeroMQ shows, without Python, that a process lives."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import zmq

from tests.integration.broker.peers import DEADLINE_S, Peer, broker, joined
from understudy_broker.core.config import BrokerConfig
from understudy_broker.link.pulse import Pulse
from understudy_broker.protocol import messages
from understudy_broker.protocol.frames import (
    FrameLimits,
    decode_to_broker,
    decode_to_peer,
    encode,
    numbered,
)
from understudy_broker.transport.zeromq_router import bind_router

CONFIG = BrokerConfig(lease_ttl_ms=400, beat_ms=100)


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context[zmq.Socket[bytes]]() as context:
        yield context


async def receive(socket: zmq.Socket[bytes]) -> list[bytes]:
    assert await trio.to_thread.run_sync(socket.poll, int(DEADLINE_S * 1000))
    return socket.recv_multipart()


async def test_a_pulse_that_falls_silent_before_its_first_ping_keeps_no_lease(
    context: zmq.Context[zmq.Socket[bytes]],
) -> None:
    client, other = Peer("c"), Peer("b", credit=1)
    with (
        broker(config=CONFIG) as running,
        context.socket(zmq.DEALER) as node,
        context.socket(zmq.DEALER) as pulse,
    ):
        for socket in (node, pulse):
            socket.set(zmq.LINGER, 0)
            socket.connect(running.endpoint)
        # A node of bare sockets, which sends neither heartbeats nor pings.
        node.send(numbered(encode([Peer("a", credit=1).hello()]), 1))
        [welcome] = decode_to_peer((await receive(node))[0])
        assert isinstance(welcome, messages.Welcome)
        pulse.send(encode([messages.Pulse(welcome.pid)]))
        async with joined(running.endpoint, client):
            await client.create("p")
            await receive(node)
            async with joined(running.endpoint, other):
                assert (await other.got_one(messages.Resume)).version == 2
            assert (await client.report()).counters["leases_lapsed"] == 1


class ScarceContext(zmq.Context[zmq.Socket[bytes]]):
    """A context that has no socket to give for the first attempts, as without descriptors."""

    refusals_left: int

    def socket(self, *args: Any, **options: Any) -> zmq.Socket[bytes]:
        if self.refusals_left:
            self.refusals_left -= 1
            raise zmq.ZMQError(errno.EMFILE)
        return super().socket(*args, **options)


async def test_a_node_without_a_descriptor_for_its_pulse_goes_on_and_shows_it_later(
    context: zmq.Context[zmq.Socket[bytes]],
) -> None:
    router = bind_router(context, "tcp://127.0.0.1:0", 1 << 20)
    with router, ScarceContext() as scarce:
        scarce.refusals_left = 3
        pulse = Pulse(scarce, router.get_string(zmq.LAST_ENDPOINT).rstrip("\0"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pulse.keep)
            pulse.start("n#1", lease_ttl_ms=8)
            _, frame = await receive(router)
            nursery.cancel_scope.cancel()
        assert scarce.refusals_left == 0
        assert decode_to_broker(frame, FrameLimits()) == [messages.Pulse("n#1")]
