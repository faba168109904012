"""A broker with keys: who gets in, who does not, and what happens when rights change."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import zmq

from tests.integration.broker.peers import DEADLINE_S, Peer
from understudy_broker.core import receiver
from understudy_broker.core.config import BrokerConfig
from understudy_broker.errors import LinkError
from understudy_broker.keys.errors import RightsError
from understudy_broker.keys.key_files import KeyPair, new_pair, replace
from understudy_broker.keys.key_folder import KeyFolder
from understudy_broker.keys.peer_keys import PeerKeys
from understudy_broker.keys.rights import Holder
from understudy_broker.keys.rights_text import lines_of, with_new_key, without_identity
from understudy_broker.link.link import Link, open_link
from understudy_broker.link.way import Direct
from understudy_broker.protocol import frames
from understudy_broker.protocol.messages import Invoke, Resume
from understudy_broker.server import keys as keys_module
from understudy_broker.server.keys import BrokerKeys
from understudy_broker.server.server import serve
from understudy_broker.transport.connection_watch import HEAD_BYTES
from understudy_broker.transport.curve import SEAL_BYTES, as_client, as_server
from understudy_broker.transport.gate import Gate
from understudy_broker.transport.monitor import bytes_received, descriptor_of
from understudy_store.store import open_store


class Guarded:
    """A broker with keys in this process, and its log."""

    def __init__(self, folder: Path) -> None:
        self.folder = KeyFolder(folder)
        self.public = self.folder.create()
        self.pairs: dict[str, KeyPair] = {}
        self.url = ""
        self.listen = "tcp://127.0.0.1:0"
        #: lines of the log with the times at which they were written
        self.lines: list[tuple[float, str, dict[str, object]]] = []
        #: frames that were decoded
        self.decoded = 0

    def give(self, name: str, expires_at: int | None = None) -> PeerKeys:
        """Make a key, and let the broker take it."""
        pair = self.pairs[name] = new_pair(name)
        lines = lines_of([Holder(name, pair.public, expires_at, ("everything",))])
        self.folder.change(lambda text: f"{text}\n{lines}")
        return PeerKeys(pair, self.public)

    def revoke(self, name: str) -> None:
        self.folder.change(lambda text: without_identity(text, name, "revoked"))

    def log(self, _level: str, text: str, fields: dict[str, object]) -> None:
        self.lines.append((time.monotonic(), text, fields))

    def said(self, text: str) -> list[dict[str, object]]:
        return [fields for _, each, fields in self.lines if each == text]

    def at(self, text: str) -> float:
        return next(at for at, each, _ in self.lines if each == text)

    @asynccontextmanager
    async def running(self, **config: Any) -> AsyncIterator[None]:
        store = open_store("memory")
        stop = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                self.url = await nursery.start(
                    partial(
                        serve,
                        store,
                        BrokerConfig(**config),
                        self.listen,
                        stop=stop,
                        log=self.log,
                        keys=BrokerKeys(self.folder.path),
                    )
                )
                yield
                stop.set()
        finally:
            store.close()


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guarded:
    monkeypatch.setattr(keys_module, "LOOK_S", 0.02)
    guarded = Guarded(tmp_path / "keys")
    decode = frames.decode_to_broker

    def count(*args: Any) -> Any:
        guarded.decoded += 1
        return decode(*args)

    monkeypatch.setattr(receiver, "decode_to_broker", count)
    return guarded


async def until(condition: Any) -> None:
    with trio.fail_after(DEADLINE_S):
        while not condition():
            await trio.sleep(0.002)


@asynccontextmanager
async def linked(guarded: Guarded, peer: Peer, keys: PeerKeys | None) -> AsyncIterator[Link]:
    way = Direct(keys)
    async with open_link(guarded.url, peer.hello, peer.on_messages, way=way) as peer.link:
        yield peer.link


async def test_who_has_a_key_joins_under_its_identity(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = guarded.give("team-a/node-1")
    asked: list[str] = []
    find = BrokerKeys.find

    def ask(self: BrokerKeys, key: str) -> Holder | str:
        asked.append(key)
        return find(self, key)

    monkeypatch.setattr(BrokerKeys, "find", ask)
    node = Peer("n1", credit=1)
    async with guarded.running(), linked(guarded, node, keys) as link:
        with trio.fail_after(DEADLINE_S):
            await link.wait_connected()
        [joined] = guarded.said("joined")
        assert joined["identity"] == "team-a/node-1"
        # Its pulse is a connection of its own, with the same key. Each is asked for twice: at the
        # handshake, and at the first frame.
        await until(lambda: asked.count(keys.pair.public) >= 4)


@pytest.mark.parametrize(
    ("who", "reason", "told"),
    [
        ("unknown", "its key is unknown", "does not take the key of this process (x), "),
        ("expired", "the key of 'x' has expired", "the key has expired or was revoked"),
        ("plain", "it has no key", "UNDERSTUDY_KEY"),
        (
            "misled",
            "it has another key of the broker, or none",
            "does not answer to the key in UNDERSTUDY_BROKER_KEY",
        ),
    ],
)
async def test_of_others_no_frame_is_decoded_and_they_are_told(
    guarded: Guarded, who: str, reason: str, told: str
) -> None:
    known = guarded.give("known")
    keys: PeerKeys | None = PeerKeys(new_pair("x"), guarded.public)
    if who == "expired":
        keys = guarded.give("x", expires_at=1_000)
    elif who == "plain":
        keys = None
    elif who == "misled":
        keys = known._replace(broker=new_pair("another").public)
    stranger = Peer("s")
    async with guarded.running(), linked(guarded, stranger, keys) as link:
        await until(lambda: told in (link.last_error or ""))
        await until(lambda: guarded.said("a connection was refused"))
        assert guarded.said("a connection was refused")[0]["reason"] == reason
        assert not link.connected
        assert guarded.decoded == 0
        # The broker has lost nothing by it.
        async with linked(guarded, Peer("k"), known) as other:
            with trio.fail_after(DEADLINE_S):
                await other.wait_connected()
        assert guarded.decoded > 0


async def test_raw_bytes_are_no_frames(guarded: Guarded) -> None:
    known = guarded.give("known")
    async with guarded.running():
        host, _, port = guarded.url.removeprefix("tcp://").partition(":")
        with socket.create_connection((host, int(port)), 5) as raw:
            raw.sendall(os.urandom(4096))
        async with linked(guarded, Peer("k"), known) as link:
            with trio.fail_after(DEADLINE_S):
                await link.wait_connected()


async def test_a_peer_with_keys_refuses_a_broker_without(guarded: Guarded) -> None:
    """Somebody may stand in the broker's place, to be told everything."""
    keys = guarded.give("known")
    store = open_store("memory")
    async with trio.open_nursery() as nursery:
        start = partial(serve, store, BrokerConfig(), "tcp://127.0.0.1:0")
        guarded.url = await nursery.start(start)
        async with linked(guarded, Peer("k"), keys) as link:
            # Each end may be the first to see it, and closes the connection then.
            await until(lambda: link.last_error is not None)
            assert "has no keys" in (link.last_error or "")
            assert not link.connected
        nursery.cancel_scope.cancel()
    store.close()
    assert guarded.decoded == 0


async def test_a_revoked_key_is_out_at_once_and_its_tasks_go_to_others(guarded: Guarded) -> None:
    bad, good = guarded.give("bad"), guarded.give("good")
    first, second, client = Peer("first", credit=1), Peer("second", credit=1), Peer("client")
    async with (
        guarded.running(reconnect_grace_ms=60_000),
        linked(guarded, client, good) as link,
        linked(guarded, first, bad) as revoked,
    ):
        with trio.fail_after(DEADLINE_S):
            await link.wait_connected()
            await revoked.wait_connected()
        await client.create("p")
        await first.got_one(Invoke)
        async with linked(guarded, second, good) as other:
            with trio.fail_after(DEADLINE_S):
                await other.wait_connected()
            guarded.revoke("bad")
            await until(lambda: not revoked.connected)
            out_at = time.monotonic()
            resume = await second.got_one(Resume)
            assert (resume.promise.id, resume.version) == ("p", 2)
        [expelled] = guarded.said("expelled, because its key is no longer permitted")
        assert expelled["released"] == 1
        # In the time of the broker's turn, not of a lease or a grace.
        took_s = out_at - guarded.at("the rights were read again")
        assert took_s < 1.0
        await until(lambda: "does not take the key" in (revoked.last_error or ""))
        assert not revoked.connected


async def test_a_key_that_expires_is_out_while_it_is_connected(guarded: Guarded) -> None:
    keys = guarded.give("x", expires_at=(int(time.time()) + 2) * 1_000)
    async with guarded.running(), linked(guarded, Peer("n"), keys) as link:
        with trio.fail_after(DEADLINE_S):
            await link.wait_connected()
        await until(lambda: not link.connected)
        assert guarded.said("expelled, because its key is no longer permitted")


async def test_both_keys_are_taken_until_the_overlap_ends(guarded: Guarded) -> None:
    old = guarded.give("n")
    new = old._replace(pair=new_pair("n"))
    before, after = Peer("before"), Peer("after")
    async with guarded.running(), linked(guarded, before, old) as first:
        with trio.fail_after(DEADLINE_S):
            await first.wait_connected()
        now = time.time_ns() // 1_000_000
        until_ms = (now // 1_000 + 2) * 1_000
        guarded.folder.change(lambda text: with_new_key(text, "n", new.pair.public, until_ms, now))
        await until(lambda: guarded.said("the rights were read again"))
        async with linked(guarded, after, new) as second:
            with trio.fail_after(DEADLINE_S):
                await second.wait_connected()
            assert first.connected
            assert (await before.create("p")).status == 201
            await until(lambda: not first.connected)
            assert time.time_ns() // 1_000_000 >= until_ms
            assert second.connected
            assert (await after.create("q")).status == 201


async def test_wrong_rights_are_refused_and_those_before_stay(guarded: Guarded) -> None:
    keys = guarded.give("known")
    text = guarded.folder.rights_path.read_text()
    async with guarded.running(), linked(guarded, Peer("a"), keys) as link:
        with trio.fail_after(DEADLINE_S):
            await link.wait_connected()
        refused = "the new rights are refused, and those before them stay in force"
        for wrong in ("[identity", text + lines_of([Holder("twin", keys.pair.public)])):
            count = len(guarded.said(refused))
            replace(guarded.folder.rights_path, wrong)
            await until(lambda: len(guarded.said(refused)) > count)  # noqa: B023
        guarded.folder.rights_path.unlink()
        await until(lambda: len(guarded.said(refused)) == 3)
        assert link.connected
        async with linked(guarded, Peer("b"), keys) as another:
            with trio.fail_after(DEADLINE_S):
                await another.wait_connected()
        guarded.folder.rights_path.write_text(text)
        later = guarded.give("later")
        await until(lambda: guarded.said("the rights were read again"))
        async with linked(guarded, Peer("c"), later) as new:
            with trio.fail_after(DEADLINE_S):
                await new.wait_connected()


async def test_two_identities_with_one_key_stop_the_start(guarded: Guarded) -> None:
    keys = guarded.give("one")
    guarded.folder.change(lambda text: text + lines_of([Holder("two", keys.pair.public)]))
    with pytest.raises(RightsError, match="is that of 'one', too"):
        BrokerKeys(guarded.folder.path)


def test_without_a_gate_nobody_gets_in() -> None:
    """ZeroMQ itself would take everybody who knows the broker's key, if nobody answers it."""
    broker, peer = new_pair("b"), new_pair("p")
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.set(zmq.LINGER, 0)
        as_server(router, broker)
        router.bind("tcp://127.0.0.1:0")
        with context.socket(zmq.DEALER) as dealer:
            dealer.set(zmq.LINGER, 0)
            as_client(dealer, PeerKeys(peer, broker.public))
            monitor = dealer.get_monitor_socket(
                zmq.Event.HANDSHAKE_SUCCEEDED
                | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
                | zmq.Event.HANDSHAKE_FAILED_AUTH
                | zmq.Event.DISCONNECTED
            )
            dealer.connect(router.get_string(zmq.LAST_ENDPOINT).rstrip("\0"))
            dealer.send(b"hello")
            assert monitor.poll(10_000)
            event = int.from_bytes(monitor.recv_multipart()[0][:2], "little")
            dealer.disable_monitor()
            monitor.close(0)
            assert event != zmq.Event.HANDSHAKE_SUCCEEDED
            assert not router.poll(100)


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell what was received")
def test_encryption_adds_no_more_bytes_than_the_watch_counts() -> None:
    """Otherwise a peer that sends very many small frames would seem to send one without an end."""
    broker, peer = new_pair("b"), new_pair("p")
    with zmq.Context() as context:
        gate = Gate(context, broker, lambda key: Holder("p", key))
        with context.socket(zmq.ROUTER) as router, context.socket(zmq.DEALER) as dealer:
            for each in (router, dealer):
                each.set(zmq.LINGER, 0)
            gate.guard(router)
            router.bind("tcp://127.0.0.1:0")
            as_client(dealer, PeerKeys(peer, broker.public))
            dealer.connect(router.get_string(zmq.LAST_ENDPOINT).rstrip("\0"))

            async def open_gate() -> None:
                with trio.move_on_after(DEADLINE_S):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(gate.run, lambda: None)
                        dealer.send(b"x")
                        while not router.poll(0):
                            await trio.sleep(0.001)
                        nursery.cancel_scope.cancel()

            trio.run(open_gate)
            router.recv()
            descriptor = descriptor_of(router.recv(copy=False))
            assert descriptor is not None
            before, counted = bytes_received(descriptor), 0
            assert before is not None
            for size in (1, 50, 222, 223, 255, 256, 9_000, 100_000):
                for _ in range(50):
                    dealer.send(bytes(size))
                    assert len(router.recv_multipart()[1]) == size
                    counted += size + HEAD_BYTES + SEAL_BYTES
            received = bytes_received(descriptor)
            assert received is not None
            assert 0 <= counted - (received - before) <= 400 * HEAD_BYTES
        gate.close()


async def test_refused_links_do_not_end_for_good(guarded: Guarded) -> None:
    """A peer may be started before its key is known; it gets in when it is."""
    keys = guarded.give("late")
    guarded.revoke("late")
    async with guarded.running(), linked(guarded, Peer("n"), keys) as link:
        await until(lambda: "does not take the key" in (link.last_error or ""))
        guarded.folder.change(lambda text: text + lines_of([Holder("late", keys.pair.public)]))
        with trio.fail_after(DEADLINE_S), suppress(LinkError):
            await link.wait_connected()
        assert link.connected
