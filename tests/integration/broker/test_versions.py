"""Peers and brokers of different versions of the protocol: each is told in words it understands."""

from __future__ import annotations

import pytest
import trio
import zmq

from tests.integration.broker.peers import DEADLINE_S, Peer, broker, joined, refused_with
from tests.integration.broker.sockets import receive_batch
from understudy_broker.errors import ProtocolMismatchError
from understudy_broker.link.link import open_link
from understudy_broker.protocol.frames import decode_to_peer, encode, numbered
from understudy_broker.protocol.messages import PROTOCOL_VERSION, Beat, Refused
from understudy_broker.transport.socket import TrioSocket

OLDER = 1


@pytest.mark.parametrize("is_numbered", [False, True])
async def test_a_peer_of_version_1_is_refused_in_a_frame_of_version_1(is_numbered: bool) -> None:
    frame = encode([Peer("old").hello()])
    if is_numbered:
        frame = numbered(frame, 1)
    frame = bytes([frame[0] - PROTOCOL_VERSION + OLDER]) + frame[1:]
    with broker() as running, zmq.Context() as context:
        with TrioSocket(context.socket(zmq.DEALER)) as socket, trio.fail_after(DEADLINE_S):
            socket.socket.connect(running.endpoint)
            assert socket.send_nowait([frame])
            [[answer]] = await receive_batch(socket)
        assert answer[0] == OLDER
        [refused] = decode_to_peer(bytes([PROTOCOL_VERSION]) + answer[1:])
        assert isinstance(refused, Refused)
        assert (refused.status, refused.fatal) == (426, True)
        assert "install the same version of understudy on both sides" in refused.error
        async with joined(running.endpoint, Peer("new")) as peer:
            assert (await peer.create("p")).status == 201


async def test_a_broker_of_version_1_ends_the_link_with_the_reason() -> None:
    peer = Peer("new")
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        port = router.bind_to_random_port("tcp://127.0.0.1")

        def answer() -> None:
            routing_id, _ = router.recv_multipart()
            router.send_multipart([routing_id, bytes([OLDER]) + encode([Beat()])[1:]])

        with refused_with(ProtocolMismatchError, "protocol version 1, and this program version 2"):
            async with (
                open_link(f"tcp://127.0.0.1:{port}", peer.hello, peer.on_messages) as link,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(trio.to_thread.run_sync, answer)
                with trio.fail_after(DEADLINE_S):
                    await link.wait_connected()
