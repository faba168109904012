"""A broker over real sockets and a real store: calls, restarts, refusals and failures."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
import trio
import zmq

from tests.integration.broker.peers import (
    DEADLINE_S,
    Peer,
    broker,
    create,
    echo,
    joined,
    refused_with,
)
from tests.integration.broker.sockets import receive_batch
from understudy_broker.core.config import BrokerConfig
from understudy_broker.errors import (
    CommitFailedError,
    LinkError,
    ListenError,
    NameInUseError,
    ProtocolMismatchError,
)
from understudy_broker.link.link import open_link
from understudy_broker.protocol.frames import FrameLimits, decode_to_peer, encode
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    Hello,
    PromiseWatch,
    Refused,
    Request,
    Settled,
    ToPeer,
)
from understudy_broker.server.embedded import EmbeddedBroker
from understudy_broker.transport.socket import TrioSocket
from understudy_store.commands import PromiseCreate, PromiseGet, PromiseSettle, Reply
from understudy_store.engines.memory import MemoryEngine
from understudy_store.errors import StoreLockedError
from understudy_store.records import Value


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory" if request.param == "memory" else f"sqlite:///{tmp_path}/broker.db"


async def test_a_call_from_end_to_end(store: str) -> None:
    node, client = Peer("n", credit=1_000), Peer("c")
    echo(node)
    with broker(store) as running:
        async with joined(running.endpoint, node), joined(running.endpoint, client):
            ids = tuple(f"p{number}" for number in range(300))
            for id_ in ids:
                client.link.request(create(id_), lambda _: None)
            known = (await client.reply(PromiseWatch(ids))).promises or []
            await client.until(
                lambda got: (
                    len(known) + sum(len(m.promises) for m in got if isinstance(m, Settled))
                    == len(ids)
                )
            )
            report = await client.report()
            assert report.counters["dispatched"] == len(ids)
            # A thousand requests are a handful of frames.
            assert report.counters["frames"] < 60
            record = (await client.reply(PromiseGet("p7"))).promise
            assert record is not None
            assert (record.state, record.value.data) == ("resolved", b"y")


async def test_everything_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/broker.db"
    client, node = Peer("c"), Peer("n", credit=5)
    echo(node)
    with broker(url) as running:
        async with joined(running.endpoint, client):
            await client.create("p")
    with broker(url) as running:
        async with joined(running.endpoint, node), joined(running.endpoint, client):
            await client.settled("p")


async def test_a_link_says_that_no_broker_answers(unused_endpoint: str) -> None:
    client = Peer("c")
    async with open_link(unused_endpoint, client.hello, client.on_messages) as link:
        with trio.fail_after(DEADLINE_S):
            while link.last_error is None:
                await trio.sleep(0.01)
        assert link.last_error == f"no broker answers at {unused_endpoint}"
        assert not link.connected


@pytest.fixture
def unused_endpoint() -> str:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
    return f"tcp://127.0.0.1:{port}"


async def test_a_malformed_address_is_refused_with_advice() -> None:
    peer = Peer("c")
    with refused_with(LinkError, "'nonsense' is no address"):
        async with open_link("nonsense", peer.hello, peer.on_messages) as link:
            await link.wait_connected()


async def test_a_second_node_of_the_same_name_is_refused() -> None:
    first, second = Peer("n", credit=1), Peer("n", credit=1, boot="2")
    with broker() as running:
        async with joined(running.endpoint, first):
            with refused_with(NameInUseError):
                async with joined(running.endpoint, second):
                    assert not second.link.connected, "a second one of that name was let in"
            # The first does not notice.
            assert (await first.reply(PromiseGet("p"))).status == 404
        async with joined(running.endpoint, second):
            assert second.link.connected


async def test_another_protocol_version_is_refused() -> None:
    peer = Peer("n")
    hello = Hello(9, "client", "g", "n", "1", 1, "h", "t")
    with broker() as running, refused_with(ProtocolMismatchError):
        async with open_link(running.endpoint, lambda: hello, peer.on_messages) as link:
            await link.wait_connected()


async def test_bad_frames_do_no_harm() -> None:
    """Malformed, truncated, of another version, too large, in parts, random."""
    chance = random.Random(7)
    head, good = bytes([PROTOCOL_VERSION]), encode([Peer("x").hello()])
    limits = FrameLimits(frame_bytes_max=100_000)
    bad = [
        [b""],
        [head],
        [good[:-3]],
        [b"\x09" + good[1:]],
        [b"a", b"b", b"c"],
        [bytes(100_001)],
    ]
    bad += [[chance.randbytes(chance.randrange(1, 60))] for _ in range(200)]
    bad += [
        [bytes([PROTOCOL_VERSION]) + chance.randbytes(chance.randrange(1, 60))] for _ in range(200)
    ]
    client = Peer("c")
    with broker(config=BrokerConfig(frames=limits)) as running, zmq.Context() as context:
        with TrioSocket(context.socket(zmq.DEALER)) as socket, trio.fail_after(DEADLINE_S):
            socket.socket.connect(running.endpoint)
            refusals: list[ToPeer] = []
            for parts in bad:
                assert socket.send_nowait(parts)
            while len(refusals) < len(bad):
                for [frame] in await receive_batch(socket):
                    # What begins like a frame of version 1 is refused in one.
                    refusals += decode_to_peer(head + frame[1:])
            assert {r.status for r in refusals if isinstance(r, Refused)} >= {400, 413, 426}
            assert all(isinstance(refusal, Refused) for refusal in refusals)
        async with joined(running.endpoint, client):
            counters = (await client.report()).counters
            assert counters["malformed"] == len(bad)
            assert (await client.create("p")).status == 201


async def test_inproc_on_a_shared_context() -> None:
    client, node = Peer("c"), Peer("n", credit=5)
    echo(node)
    with zmq.Context() as context, broker(listen="inproc://broker", context=context) as running:
        async with (
            joined(running.endpoint, node, context=context),
            joined(running.endpoint, client, context=context),
        ):
            await client.create("p")
            await client.settled("p")


async def test_a_failed_commit_stops_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[BaseException] = []
    client = Peer("c")
    running = EmbeddedBroker("memory", on_failure=failures.append)
    running.start()
    commit = MemoryEngine.commit

    def fail(self: MemoryEngine, changes: Any, reads: Any, epoch: int) -> list[Reply]:
        if any(row.promise.id == "bad" for row in changes.inserted):
            raise OSError("no space left on device")
        return commit(self, changes, reads, epoch)

    monkeypatch.setattr(MemoryEngine, "commit", fail)
    answers: list[object] = []
    async with joined(running.endpoint, client):
        assert (await client.create("good")).status == 201
        client.link.request(create("bad"), answers.append)
        with trio.fail_after(DEADLINE_S):
            while running.running or client.link.connected:
                await trio.sleep(0.01)
        assert answers == []
        assert client.link.unanswered == 1
    assert isinstance(running.error, CommitFailedError)
    assert "no space left on device" in str(running.error)
    assert failures == [running.error]


def test_errors_at_the_start_are_raised_by_start(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/broker.db"
    with broker(url) as running:
        with pytest.raises(ListenError, match="is in use"):
            EmbeddedBroker("memory", running.endpoint).start()
        with pytest.raises(StoreLockedError):
            EmbeddedBroker(url).start()
    with pytest.raises(ListenError, match="looks like"):
        EmbeddedBroker("memory", "nonsense").start()


async def test_a_peer_that_does_not_read_is_dropped() -> None:
    """One slow reader costs the others nothing, and the broker a bounded amount of memory."""
    slow, client = Peer("slow"), Peer("c")
    config = BrokerConfig(outgoing_bytes_max=1 << 20)
    with broker(config=config) as running, zmq.Context() as context:
        socket = context.socket(zmq.DEALER)
        socket.set(zmq.RCVHWM, 1)
        socket.set(zmq.RCVBUF, 4_096)
        socket.set(zmq.LINGER, 0)
        with TrioSocket(socket) as deaf, trio.fail_after(DEADLINE_S):
            socket.connect(running.endpoint)
            assert deaf.send_nowait([encode([slow.hello()])])
            await receive_batch(deaf)
            async with joined(running.endpoint, client):
                payload = Value({}, bytes(200_000))
                at = time.time_ns() // 1_000_000 + 60_000
                ids = [f"p{number}" for number in range(100)]
                for id_ in ids:
                    await client.reply(PromiseCreate(id_, at))
                # what it asks for waits until it reads; what it is told of cannot
                asked = [
                    Request(1, PromiseWatch(tuple(ids))),
                    Request(2, PromiseCreate("seen", at)),
                ]
                assert deaf.send_nowait([encode(asked)])
                while (await client.reply(PromiseGet("seen"))).status == 404:
                    await trio.lowlevel.checkpoint()
                for id_ in ids:
                    await client.reply(PromiseSettle(id_, "resolved", payload))
                    if (await client.report()).counters["peers_too_slow"]:
                        break
                assert (await client.report()).counters["peers_too_slow"] == 1
                assert (await client.create("q")).status == 201
