"""Connections that break, come back and end, as a broker over real sockets sees them."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import zmq

from tests.integration.broker.peers import (
    DEADLINE_S,
    Peer,
    broker,
    echo,
    joined,
)
from understudy_broker.core.config import BrokerConfig
from understudy_broker.link.link import Link, open_link
from understudy_broker.protocol.frames import encode
from understudy_broker.protocol.messages import (
    Invoke,
    Refused,
    Resume,
)
from understudy_broker.server.server import serve
from understudy_broker.transport.socket import TrioSocket
from understudy_store.commands import PromiseGet, TaskFulfill, TaskGet
from understudy_store.records import pid_of
from understudy_store.store import open_store


def _cut(link: Link) -> None:
    """Lose the connection as a broken network would: no Bye."""
    link.connection.session.receive([Refused(412, "cut by the test")], 0)
    link.connection.wake()


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


async def test_a_peer_that_leaves_says_goodbye() -> None:
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


async def test_a_peer_that_does_not_leave_in_order_has_crashed() -> None:
    crashing, client = Peer("crashing", credit=1), Peer("c")
    with broker(config=BrokerConfig(reconnect_grace_ms=10, deaths_max=1)) as running:
        async with joined(running.endpoint, client):
            async with joined(running.endpoint, crashing, leaves=lambda: False):
                await client.create("p")
                await crashing.got_one(Invoke)
            with trio.fail_after(DEADLINE_S):
                while True:
                    task = (await client.reply(TaskGet("p"))).task
                    assert task is not None
                    if task.state == "halted":
                        break
                    await trio.sleep(0.005)
            assert "node crashing" in (task.cause or "")


async def test_a_peer_that_came_and_went_between_two_turns_is_not_there(
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
    log: list[str] = []
    store = open_store("memory")
    try:
        async with trio.open_nursery() as nursery:
            url = await nursery.start(
                lambda task_status: serve(
                    store,
                    BrokerConfig(),
                    "tcp://127.0.0.1:0",
                    log=lambda _level, text, _fields: log.append(text),
                    task_status=task_status,
                )
            )
            # no checkpoint in here, so the broker has no turn
            with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
                dealer.linger = -1
                dealer.connect(url)
                dealer.send(encode([first.hello()]))
            # The system may give the next connection the descriptor of this one, and then the
            # broker could not tell which of the two has closed.
            with trio.fail_after(10):
                while "connection closed" not in log:
                    await trio.sleep(0.001)
            async with joined(url, again):
                groups = (await again.report()).groups
                assert [node.pid for node in groups[0].nodes] == [pid_of("n", "2")]
            nursery.cancel_scope.cancel()
    finally:
        store.close()
