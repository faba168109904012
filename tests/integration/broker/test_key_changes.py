"""Changes of keys under load: a revoked one is out at once, and a rotated one loses no call."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.integration.broker.peers import DEADLINE_S, Peer, create, echo
from tests.integration.broker.test_keys import Guarded, guarded, linked, until
from tests.support import free_url
from understudy_broker.core.config import BrokerConfig
from understudy_broker.keys.key_files import (
    BROKER_PUBLIC,
    KeyFileError,
    new_pair,
    replace,
    replace_pair,
    write_pair,
)
from understudy_broker.keys.peer_keys import PeerKeys
from understudy_broker.keys.reload_socket import Answer, ask_brokers, open_socket
from understudy_broker.keys.rights import BROKERS, Holder
from understudy_broker.keys.rights_text import with_new_key, without_identity
from understudy_broker.protocol.messages import Invoke, PromiseCreateWatched, Resume, Settled
from understudy_broker.server import server
from understudy_broker.server.keys import BrokerKeys
from understudy_broker.server.server import serve
from understudy_store.store import open_store

__all__ = ["guarded"]

#: how soon a revoked key is to be out
OUT_S = 0.1
CALLS = 10_000


async def ask(folder: Path) -> list[Answer]:
    """Do what the commands do: they run on a thread here, because the broker is in this process."""
    return await trio.to_thread.run_sync(ask_brokers, folder)


async def test_a_revoked_key_is_out_within_100_ms_under_its_own_load(guarded: Guarded) -> None:
    """Measured from before the command writes the file; the best of some, on a busy machine."""
    good = guarded.give("good")
    took_s: list[float] = []
    async with guarded.running(reconnect_grace_ms=60_000):
        client, heir = Peer("client"), Peer("heir", credit=1_000)
        async with linked(guarded, client, good) as link, linked(guarded, heir, good) as other:
            with trio.fail_after(DEADLINE_S):
                await link.wait_connected()
                await other.wait_connected()
            for attempt in range(3):
                name = f"bad-{attempt}"
                bad = Peer(name, group=name, credit=1)
                heir_of = Peer(f"heir-{attempt}", group=name, credit=1)
                keys = guarded.give(name)
                await ask(guarded.folder.path)
                async with linked(guarded, bad, keys) as revoked, trio.open_nursery() as nursery:
                    with trio.fail_after(DEADLINE_S):
                        await revoked.wait_connected()
                    await client.create(f"held-{attempt}", name)
                    await bad.got_one(Invoke)
                    nursery.start_soon(flood, bad)
                    await until(lambda: len(bad.got) > 200)  # noqa: B023
                    async with linked(guarded, heir_of, good) as waiting:
                        with trio.fail_after(DEADLINE_S):
                            await waiting.wait_connected()
                        change = partial(without_identity, name=name, note="revoked")
                        began = time.monotonic()
                        await trio.to_thread.run_sync(guarded.folder.change, change)
                        [answer] = await ask(guarded.folder.path)
                        assert answer.refused is None
                        await until(lambda: not revoked.connected)
                        took_s.append(time.monotonic() - began)
                        # Its task goes to another at once, not after the grace of a minute.
                        resume = await heir_of.got_one(Resume)
                        assert resume.promise.id == f"held-{attempt}"
                    nursery.cancel_scope.cancel()
                if took_s[-1] < OUT_S:
                    break
    assert min(took_s) < OUT_S, took_s


async def flood(peer: Peer) -> None:
    """Ask for as much as the broker answers."""
    number = 0
    with suppress(Exception):
        while True:
            number += 1
            for each in range(50):
                peer.link.request(
                    create(f"{peer.name}.{number}.{each}", "nobody"),
                    lambda reply: peer.got.append(reply),
                )
            await until(lambda: len(peer.got) > 45 * number)  # noqa: B023


async def test_ten_thousand_calls_in_flight_survive_a_rotation(guarded: Guarded) -> None:
    """Keys of the caller and of the node are replaced while the node holds all the calls."""
    keys = {name: guarded.give(name) for name in ("caller", "node")}
    caller, node = Peer("caller"), Peer("node", credit=CALLS)
    lost: list[str] = []
    async with (
        guarded.running(inflight_max=CALLS),
        linked(guarded, caller, keys["caller"]) as link,
        linked(guarded, node, keys["node"]) as serving,
    ):
        with trio.fail_after(DEADLINE_S):
            await link.wait_connected()
            await serving.wait_connected()
        replies: list[object] = []
        for number in range(CALLS):
            link.request(PromiseCreateWatched(create(f"p{number}")), replies.append)
        await until(lambda: sum(isinstance(m, Invoke) for m in node.got) == CALLS)
        now = time.time_ns() // 1_000_000
        fresh = {name: pair._replace(pair=new_pair(name)) for name, pair in keys.items()}
        for name, new in fresh.items():
            changed = partial(
                with_new_key, name=name, key=new.pair.public, old_until=now + 3_600_000, now=now
            )
            guarded.folder.change(changed)
        [answer] = await ask(guarded.folder.path)
        assert answer.refused is None
        # Whoever has the new key gets in beside those that have the old one.
        another = Peer("another", credit=1)
        async with linked(guarded, another, fresh["node"]) as new_link:
            with trio.fail_after(DEADLINE_S):
                await new_link.wait_connected()
        invoked = [message for message in node.got if isinstance(message, Invoke)]
        echo(node)
        node.on_messages([*invoked])
        settled: set[str] = set()

        def count() -> bool:
            for message in caller.got:
                if isinstance(message, Settled):
                    settled.update(promise.id for promise in message.promises)
            caller.got.clear()
            return len(settled) == CALLS

        await until(count)
        assert link.connected
        assert serving.connected
        assert not lost
    assert not guarded.said("expelled, because its key is no longer permitted")


# Commands ----------------------------------------------------------------------------------------


async def test_a_broker_says_which_rights_it_has(guarded: Guarded) -> None:
    guarded.give("a")
    folder = guarded.folder
    assert await ask(folder.path) == []
    async with guarded.running(name="b1"):
        [answer] = await ask(folder.path)
        assert (answer.broker, answer.digest) == ("b1", folder.digest())
        assert answer.refused is None
        before = folder.digest()
        replace(folder.rights_path, "[identity")
        [answer] = await ask(folder.path)
        assert answer.digest == before
        assert "is not valid TOML" in str(answer.refused)
        text = "# nobody\n"
        replace(folder.rights_path, text)
        [answer] = await ask(folder.path)
        assert (answer.digest, answer.refused) == (folder.digest(), None)
    assert await ask(folder.path) == []
    assert not list(folder.path.glob(".broker-*"))


async def test_who_says_nothing_or_nonsense_at_the_socket_keeps_nobody_out(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    from understudy_broker.server import reloads

    monkeypatch.setattr(reloads, "_TALK_S", 0.05)
    async with guarded.running():
        await until(lambda: list(guarded.folder.path.glob(".broker-*")))
        [path] = guarded.folder.path.glob(".broker-*")
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as rude:
            for each in (silent, rude):
                each.connect(str(path))
            rude.sendall(b"shutdown" * 1_000)
            assert len(await ask(guarded.folder.path)) == 1


def test_a_socket_that_was_left_behind_is_removed_and_one_that_is_silent_is_told(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    from understudy_broker.keys import reload_socket

    left, path = open_socket(guarded.folder.path)
    left.close()
    assert ask_brokers(guarded.folder.path) == []
    assert not path.exists()
    monkeypatch.setattr(reload_socket, "ANSWER_S", 0.05)
    deaf, _ = open_socket(guarded.folder.path)
    with deaf, pytest.raises(KeyFileError, match="does not answer"):
        ask_brokers(guarded.folder.path)


def test_a_folder_with_a_long_path_has_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    found, path = open_socket(folder)
    answers: list[Answer] = []
    with found:
        asking = threading.Thread(target=lambda: answers.extend(ask_brokers(folder)))
        asking.start()
        connection, _ = found.accept()
        with connection:
            connection.sendall(Answer("b", 1, "d", None).encode())
        asking.join(DEADLINE_S)
    assert answers == [Answer("b", 1, "d", None)]
    path.unlink()


async def test_a_folder_without_room_for_a_socket_is_told_and_followed_as_before(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    from understudy_broker.server import reloads

    def nowhere(_folder: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(reloads, "open_socket", nowhere)
    async with guarded.running():
        await until(lambda: any("reload will not find" in text for _, text, _ in guarded.lines))
        guarded.give("a")
        await until(lambda: guarded.said("the rights were read again"))


# The broker's own key ----------------------------------------------------------------------------


async def test_a_brokers_key_is_replaced_and_running_peers_follow_by_their_files(
    guarded: Guarded,
) -> None:
    """Old and new key are known side by side; no peer is started again, and no call is lost."""
    public = guarded.folder.path / BROKER_PUBLIC
    old_only = guarded.give("peer")
    old = old_only._replace(broker_path=public)
    node, client, late = Peer("node", credit=100), Peer("client"), Peer("late")
    echo(node)
    guarded.url = guarded.listen = free_url()
    stop = trio.Event()

    async def first() -> None:
        async with guarded.running():
            await stop.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        async with linked(guarded, node, old) as serving, linked(guarded, client, old) as link:
            with trio.fail_after(DEADLINE_S):
                await serving.wait_connected()
                await link.wait_connected()
            since = (time.time_ns() // 1_000_000_000 + 2) * 1_000
            new_key = guarded.folder.rotate_broker(since)
            assert public.read_text().split() == [old.broker, new_key]
            with pytest.raises(KeyFileError, match="not completed"):
                guarded.folder.rotate_broker(since)
            with pytest.raises(KeyFileError, match="not due yet"):
                guarded.folder.complete_rotation(since - 1)
            # Whoever tries the new key first gets in by the old one.
            eager = old._replace(broker=new_key, others=(old.broker,))
            async with linked(guarded, late, eager) as other:
                with trio.fail_after(DEADLINE_S):
                    await other.wait_connected()
            # A broker that starts before the time has the old key.
            assert BrokerKeys(guarded.folder.path).pair.public == old.broker
            await until(lambda: time.time_ns() // 1_000_000 >= since)
            links = (link, serving)
            assert all(each.connected for each in links)
            stop.set()
            await until(lambda: not any(each.connected for each in links))
            async with guarded.running():
                assert BrokerKeys(guarded.folder.path).pair.public == new_key
                await until(lambda: all(each.connected for each in links))
                await client.create("p")
                await client.settled("p")
                # A peer that knows the old key alone is told so.
                async with linked(guarded, Peer("stranger"), old_only) as lost:
                    said = "does not answer to the key in UNDERSTUDY_BROKER_KEY"
                    await until(lambda: said in (lost.last_error or ""))
    assert guarded.folder.complete_rotation(since) == new_key
    assert public.read_text().split() == [new_key]
    assert BrokerKeys(guarded.folder.path).pair.public == new_key
    with pytest.raises(KeyFileError, match="no rotation has begun"):
        guarded.folder.complete_rotation(since)


async def test_a_broker_says_that_its_next_key_is_due(guarded: Guarded) -> None:
    async with guarded.running():
        pass
    guarded.folder.rotate_broker((time.time_ns() // 1_000_000_000 + 1) * 1_000)
    async with guarded.running():
        await until(lambda: any("next key is due" in text for _, text, _ in guarded.lines))


def test_brokers_of_both_keys_reach_each_other(guarded: Guarded) -> None:
    old = BrokerKeys(guarded.folder.path).for_brokers
    guarded.folder.rotate_broker(0)
    keys = BrokerKeys(guarded.folder.path)
    assert {keys.for_brokers.broker, *keys.for_brokers.others} > {old.broker}
    for public in (old.broker, keys.pair.public):
        holder = keys.find(public)
        assert isinstance(holder, Holder)
        assert holder.identity == BROKERS


async def test_a_peer_reads_its_own_file_again_when_it_is_refused(
    guarded: Guarded, tmp_path: Path
) -> None:
    """A key is rotated without an overlap: a peer goes on with its new file, as it runs."""
    pair = guarded.give("node").pair
    path = tmp_path / "node.key"
    write_pair(path, pair)
    keys = PeerKeys(pair, guarded.public, (), path)
    async with guarded.running(), linked(guarded, Peer("n"), keys) as link:
        with trio.fail_after(DEADLINE_S):
            await link.wait_connected()
        fresh, now = new_pair("node"), time.time_ns() // 1_000_000
        changed = partial(with_new_key, name="node", key=fresh.public, old_until=now, now=now)
        guarded.folder.change(changed)
        await until(lambda: "does not take the key" in (link.last_error or ""))
        replace_pair(path, fresh)
        with trio.fail_after(DEADLINE_S):
            await link.wait_connected()


# Strangers ---------------------------------------------------------------------------------------


@contextmanager
def recorded(url: str) -> Iterator[tuple[str, bytearray]]:
    """Forward connections to a broker, and keep what the first peer sends."""
    host, _, port = url.removeprefix("tcp://").partition(":")
    kept = bytearray()
    opened: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def pump(source: socket.socket, sink: socket.socket, keeps: bool) -> None:
            with suppress(OSError):
                while data := source.recv(65_536):
                    if keeps:
                        kept.extend(data)
                    sink.sendall(data)
            with suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)

        def serve() -> None:
            is_first = True
            with suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    onward = socket.create_connection((host, int(port)), 5)
                    opened.extend((peer, onward))
                    for pair in ((peer, onward, is_first), (onward, peer, False)):
                        threading.Thread(target=pump, args=pair, daemon=True).start()
                    is_first = False

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}", kept
        listener.shutdown(socket.SHUT_RDWR)
        serving.join(DEADLINE_S)
        for each in opened:
            each.close()


async def test_a_handshake_that_was_recorded_lets_nobody_in_again(guarded: Guarded) -> None:
    keys = guarded.give("known")
    async with guarded.running():
        url = guarded.url
        with recorded(url) as (through, kept):
            guarded.url = through
            async with linked(guarded, Peer("a"), keys) as link:
                with trio.fail_after(DEADLINE_S):
                    await link.wait_connected()
        joined, decoded = len(guarded.said("joined")), guarded.decoded
        assert decoded
        host, _, port = url.removeprefix("tcp://").partition(":")

        def replay() -> bytes:
            with socket.create_connection((host, int(port)), 5) as raw:
                raw.sendall(bytes(kept))
                answer = b""
                # The broker closes the connection, because it has other keys for each of them.
                with suppress(OSError):
                    while data := raw.recv(65_536):
                        answer += data
                return answer

        with trio.fail_after(DEADLINE_S):
            await trio.to_thread.run_sync(replay)
        assert (len(guarded.said("joined")), guarded.decoded) == (joined, decoded)


async def test_a_broker_that_takes_everybody_says_so_again_and_again(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REPEAT_INSECURE_S", 0.01)
    store = open_store("memory")
    async with trio.open_nursery() as nursery:
        config = BrokerConfig(is_insecure=True)
        start = partial(serve, store, config, "tcp://127.0.0.1:0", log=guarded.log)
        guarded.url = await nursery.start(start)
        await until(lambda: sum("(--insecure)" in text for _, text, _ in guarded.lines) >= 2)
        async with linked(guarded, Peer("c"), None) as link:
            peer = Peer("c")
            peer.link = link
            assert (await peer.report()).counters["insecure"] == 1
        nursery.cancel_scope.cancel()
    store.close()
