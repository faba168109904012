"""A broker over real sockets and a real store."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import zmq

from tests.integration.broker.sockets import receive_batch
from understudy_broker.core.config import BrokerConfig
from understudy_broker.errors import (
    CommitFailedError,
    LinkError,
    ListenError,
    NameInUseError,
    ProtocolMismatchError,
)
from understudy_broker.link.link import Link, open_link
from understudy_broker.protocol.frames import FrameLimits, decode_to_peer, encode
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    AnyCommand,
    GroupsGet,
    GroupsReport,
    Hello,
    Invoke,
    PromiseWatch,
    Refused,
    Request,
    Response,
    Resume,
    Settled,
    ToPeer,
)
from understudy_broker.server.embedded import EmbeddedBroker
from understudy_broker.server.server import serve
from understudy_broker.transport.socket import TrioSocket
from understudy_store.commands import PromiseCreate, PromiseGet, PromiseSettle, Reply, TaskFulfill
from understudy_store.engines.memory import MemoryEngine
from understudy_store.errors import StoreLockedError
from understudy_store.records import TAG_TARGET, Value
from understudy_store.store import open_store

DEADLINE_S = 20.0


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory" if request.param == "memory" else f"sqlite:///{tmp_path}/broker.db"


@contextmanager
def broker(store: str = "memory", **more: Any) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(store, **more) as running:
        yield running
    assert not running.running
    if running.error is not None:
        raise running.error


@contextmanager
def refused_with(kind: type[LinkError], text: str = "") -> Iterator[None]:
    """The block ends with this error, told once or by all that waited."""
    with pytest.raises(ExceptionGroup) as caught:
        yield
    assert caught.value.split(kind)[1] is None
    assert text in str(caught.value.exceptions[0])


class Peer:
    """A link and all that it was sent."""

    def __init__(self, name: str, group: str = "g", credit: int = 0, boot: str = "1") -> None:
        self.name, self.group, self.credit, self.boot = name, group, credit, boot
        self.claims: tuple[tuple[str, int], ...] = ()
        self.got: list[ToPeer] = []
        self.react: Callable[[ToPeer], None] = lambda _: None
        self._arrived = trio.Event()
        self.link: Link

    def hello(self) -> Hello:
        kind: Any = "node" if self.credit else "client"
        return Hello(
            PROTOCOL_VERSION, kind, self.group, self.name, self.boot, os.getpid(), "here", "test",
            self.credit, (), self.claims,
        )  # fmt: skip

    def on_messages(self, messages: list[ToPeer]) -> None:
        self.got += messages
        for message in messages:
            self.react(message)
        arrived, self._arrived = self._arrived, trio.Event()
        arrived.set()

    async def until(self, happened: Callable[[list[ToPeer]], bool]) -> None:
        with trio.fail_after(DEADLINE_S):
            while not happened(self.got):
                await self._arrived.wait()

    async def got_one(self, kind: type[Any]) -> Any:
        await self.until(lambda got: any(isinstance(m, kind) for m in got))
        return next(m for m in self.got if isinstance(m, kind))

    async def reply(self, command: AnyCommand) -> Reply:
        with trio.fail_after(DEADLINE_S):
            answer = await self.link.call(command)
        assert isinstance(answer, Response), answer
        return answer.reply

    async def report(self) -> GroupsReport:
        with trio.fail_after(DEADLINE_S):
            answer = await self.link.call(GroupsGet())
        assert isinstance(answer, Response)
        assert answer.report is not None
        return answer.report

    async def settled(self, id_: str) -> None:
        """Wait until the promise is settled, or find that it is already."""
        if not (await self.reply(PromiseWatch((id_,)))).promises:
            await self.got_one(Settled)

    async def create(self, id_: str, target: str = "g") -> Reply:
        return await self.reply(create(id_, target))


def create(id_: str, target: str = "g") -> PromiseCreate:
    at = time.time_ns() // 1_000_000 + 60_000
    return PromiseCreate(id_, at, Value({}, b"x"), {TAG_TARGET: target})


@asynccontextmanager
async def joined(url: str, peer: Peer, **more: Any) -> AsyncIterator[Peer]:
    async with open_link(url, peer.hello, peer.on_messages, **more) as peer.link:
        with trio.fail_after(DEADLINE_S):
            await peer.link.wait_connected()
        yield peer


def echo(peer: Peer) -> None:
    """Make a peer fulfil whatever it is invoked with."""

    def react(message: ToPeer) -> None:
        if isinstance(message, Invoke | Resume):
            fulfil = TaskFulfill(message.promise.id, message.version, "resolved", Value({}, b"y"))
            peer.link.request(fulfil, lambda _: None)

    peer.react = react


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


async def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/broker.db"
    client, node = Peer("c"), Peer("n", credit=5)
    echo(node)
    with broker(url) as running:
        async with joined(running.endpoint, client):
            await client.create("p")
    with broker(url) as running:
        async with joined(running.endpoint, node), joined(running.endpoint, client):
            await client.settled("p")


async def test_a_link_outlives_its_broker(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/broker.db"
    client = Peer("c")
    with broker(url) as running:
        endpoint = running.endpoint
        link = open_link(endpoint, client.hello, client.on_messages)
        client.link = await link.__aenter__()
        await client.create("p")
    with trio.fail_after(DEADLINE_S):
        while client.link.connected:
            await trio.sleep(0.01)
    assert client.link.last_error
    replies: list[object] = []
    client.link.request(PromiseGet("p"), replies.append)  # asked while there is no broker
    with broker(url, listen=endpoint):
        assert (await client.reply(PromiseGet("p"))).status == 200
        assert len(replies) == 1
        await link.__aexit__(None, None, None)


async def test_no_broker_is_said_in_words(unused_endpoint: str) -> None:
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


async def test_reconnecting_with_claims_keeps_the_task() -> None:
    node, other, client = Peer("n", credit=1), Peer("o", credit=5), Peer("c")
    with broker(config=BrokerConfig(reconnect_grace_ms=5_000)) as running:
        async with joined(running.endpoint, client), joined(running.endpoint, node):
            await client.create("p")
            await node.got_one(Invoke)
            async with joined(running.endpoint, other):
                _cut(node.link)
                node.claims = (("p", 1),)
                with trio.fail_after(DEADLINE_S):
                    while node.link.statistics().connections < 2:
                        await trio.sleep(0.005)
                assert node.link.welcome is not None
                assert node.link.welcome.lost == ()
                assert (await node.reply(TaskFulfill("p", 1, "resolved"))).status == 200
                assert not any(isinstance(m, Resume) for m in other.got)


def _cut(link: Link) -> None:
    """Lose the connection as a broken network would: no Bye."""
    link.connection.session.receive([Refused(412, "cut by the test")], 0)
    link.connection.wake()


@pytest.mark.parametrize("corked", [False, True])
async def test_rejoining_is_a_new_hello_at_once(corked: bool) -> None:
    peer, client = Peer("n"), Peer("c")
    echo(peer)
    with broker() as running:
        async with joined(running.endpoint, peer), joined(running.endpoint, client):
            await client.create("p")
            peer.credit = 1  # from now on it is a node
            if corked:
                peer.link.cork()
            peer.link.rejoin()
            if corked:
                peer.link.uncork()
            # sooner than any beat would wake the link
            with trio.fail_after(1):
                while peer.link.statistics().connections < 2:
                    await trio.sleep(0.005)
            await client.settled("p")
            assert peer.link.statistics().connections == 2
            # Nobody thought it gone.
            assert (await client.report()).groups[0].nodes[0].name == "n"


async def test_an_address_that_is_none_is_said_in_words() -> None:
    peer = Peer("c")
    with refused_with(LinkError, "'nonsense' is no address"):
        async with open_link("nonsense", peer.hello, peer.on_messages) as link:
            await link.wait_connected()


async def test_two_nodes_with_one_name() -> None:
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
                    refusals += decode_to_peer(frame)
            assert {r.status for r in refusals if isinstance(r, Refused)} >= {400, 413, 426}
            assert all(isinstance(refusal, Refused) for refusal in refusals)
        async with joined(running.endpoint, client):
            counters = (await client.report()).counters
            assert counters["malformed"] == len(bad)
            assert (await client.create("p")).status == 201


NODE = """
import sys, trio
from understudy_broker.link.link import open_link
from understudy_broker.protocol.messages import PROTOCOL_VERSION, Hello, Invoke

def on_messages(messages):
    if any(isinstance(message, Invoke) for message in messages):
        print("invoked", flush=True)

async def main():
    hello = Hello(PROTOCOL_VERSION, "node", "g", "victim", "1", 1, "h", "t", 1)
    async with open_link(sys.argv[1], lambda: hello, on_messages) as link:
        await link.wait_connected()
        print("connected", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def test_a_killed_node_is_noticed_at_once() -> None:
    survivor, client = Peer("survivor", credit=1), Peer("c")
    with broker() as running:
        victim = subprocess.Popen(
            [sys.executable, "-c", NODE, running.endpoint], stdout=subprocess.PIPE, text=True
        )
        try:
            assert victim.stdout is not None
            assert await trio.to_thread.run_sync(victim.stdout.readline) == "connected\n"
            async with joined(running.endpoint, client):
                await client.create("p")
                assert await trio.to_thread.run_sync(victim.stdout.readline) == "invoked\n"
                async with joined(running.endpoint, survivor):
                    victim.send_signal(signal.SIGKILL)
                    killed_at = trio.current_time()
                    resume = await survivor.got_one(Resume)
                    assert trio.current_time() - killed_at < 0.5
                    assert (resume.promise.id, resume.version) == ("p", 2)
        finally:
            victim.kill()
            victim.wait()
            assert victim.stdout is not None
            victim.stdout.close()


async def test_who_leaves_in_order_says_so() -> None:
    """What it holds goes to others at once: it is not waited for, as for one that is cut off."""
    leaver, survivor, client = Peer("leaver", credit=1), Peer("survivor", credit=1), Peer("c")
    config = BrokerConfig(reconnect_grace_ms=600_000, lease_ttl_ms=600_000)
    with broker(config=config) as running:
        async with joined(running.endpoint, client):
            async with joined(running.endpoint, leaver):
                await client.create("p")
                await leaver.got_one(Invoke)
            async with joined(running.endpoint, survivor):
                resume = await survivor.got_one(Resume)
            assert (resume.promise.id, resume.version) == ("p", 2)


async def test_who_came_and_went_before_the_broker_looked_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else its name would be taken until its lease lapses."""
    send = TrioSocket.send_nowait

    def send_into_the_void(self: TrioSocket, parts: list[bytes]) -> bool:
        # for about a millisecond ZeroMQ itself does not know what its monitor has told already
        with suppress(zmq.ZMQError):
            return send(self, parts)
        return True

    monkeypatch.setattr(TrioSocket, "send_nowait", send_into_the_void)
    first, again = Peer("n", credit=1, boot="1"), Peer("n", credit=1, boot="2")
    store = open_store("memory")
    try:
        async with trio.open_nursery() as nursery:
            url = await nursery.start(serve, store, BrokerConfig(), "tcp://127.0.0.1:0")
            # no checkpoint in here, so the broker has no turn
            with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
                dealer.linger = -1
                dealer.connect(url)
                dealer.send(encode([first.hello()]))
            async with joined(url, again):
                groups = (await again.report()).groups
                assert [node.pid for node in groups[0].nodes] == ["n#2"]
            nursery.cancel_scope.cancel()
    finally:
        store.close()


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


def test_errors_at_start_come_out_of_start(tmp_path: Path) -> None:
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
