"""The audit of a running broker: its file and parts, crashes, a full disk, and who is in it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.integration.broker.peers import DEADLINE_S, Peer
from understudy_broker.audit.audit_file import AuditFile, AuditFileError, older_parts
from understudy_broker.audit.chain import TORN, ChainCheck, Place, Record
from understudy_broker.core.config import BrokerConfig
from understudy_broker.keys.key_files import new_pair
from understudy_broker.keys.key_folder import KeyFolder
from understudy_broker.keys.peer_keys import PeerKeys
from understudy_broker.keys.rights import Holder
from understudy_broker.keys.rights_text import lines_of, without_identity
from understudy_broker.link.link import open_link
from understudy_broker.link.way import Direct
from understudy_broker.server import audit as audit_module
from understudy_broker.server.keys import BrokerKeys
from understudy_broker.server.server import serve
from understudy_store.commands import PromiseCancel
from understudy_store.store import open_store

MANY = [Record(number, "joined", {"name": f"n{number}"}) for number in range(100)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path / "audit.jsonl"


def checked(path: Path) -> ChainCheck:
    """Check the file and its older parts."""
    check = ChainCheck()
    for part in [*older_parts(path), path]:
        for number, line in enumerate(part.read_bytes().splitlines(keepends=True), 1):
            check.feed(line, Place(part.name, number))
    return check


def lines(path: Path) -> list[dict[str, Any]]:
    found = b"".join(part.read_bytes() for part in [*older_parts(path), path])
    return [json.loads(line) for line in found.splitlines()]


# The file ----------------------------------------------------------------------------------------


def test_the_chain_goes_on_over_parts_and_starts(path: Path) -> None:
    mask = os.umask(0)
    try:
        file = AuditFile(path, bytes_max=1_000)
        for record in MANY[:50]:
            file.write([record])
    finally:
        os.umask(mask)
    file.close()
    file = AuditFile(path, bytes_max=1_000)
    for record in MANY[50:]:
        file.write([record])
    file.close()
    parts = older_parts(path)
    assert len(parts) > 5
    assert [part.name for part in parts[:2]] == ["audit.jsonl.000001", "audit.jsonl.000002"]
    assert all(part.stat().st_mode & 0o777 == 0o600 for part in [*parts, path])
    found = checked(path)
    assert (found.problem, found.lines, found.torn) == (None, 100, [])
    # Between putting a file aside and the first line of the next one, the process may die.
    path.rename(path.with_name(f"audit.jsonl.{len(parts) + 1:06}"))
    file = AuditFile(path, bytes_max=1_000)
    file.write(MANY[:1])
    file.close()
    assert (checked(path).problem, checked(path).lines) == (None, 101)


@pytest.mark.parametrize("cut", range(1, 96, 5))
def test_a_line_that_a_crash_has_cut_is_told_of_and_the_chain_goes_on(path: Path, cut: int) -> None:
    file = AuditFile(path, bytes_max=100_000)
    file.write(MANY[:3])
    file.close()
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    torn = not data.endswith(b"\n", 0, len(data) - cut) and cut > 1
    for start in range(2):
        file = AuditFile(path, bytes_max=100_000)
        file.write(MANY[3:5])
        file.close()
        found = checked(path)
        assert found.problem is None
        assert len(found.torn) == int(torn)
        assert found.lines == (3 - torn) + torn + 2 * (start + 1)
    if torn:
        assert lines_whole(path)[2]["what"] == TORN


def lines_whole(path: Path) -> list[dict[str, Any]]:
    check, found = ChainCheck(), []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        parsed = check.feed(line, Place("", number))
        if parsed is not None:
            found.append(parsed)
    return found


def test_what_others_could_read_replace_or_redirect_is_refused(path: Path) -> None:
    def refused(said: str) -> None:
        with pytest.raises(AuditFileError, match=said):
            AuditFile(path, 100_000)

    other = path.with_name("other")
    other.write_text("# settings\n")
    other.chmod(0o600)
    path.symlink_to(other)
    refused("it is a link")
    path.unlink()
    os.link(other, path)
    refused("has another name as well")
    path.unlink()
    other.rename(path)
    refused("is no audit")
    assert path.read_text() == "# settings\n"
    path.unlink()
    path.write_text("")
    path.chmod(0o640)
    refused("readable by nobody else")
    path.unlink()
    os.mkfifo(path, 0o600)
    refused("is no file")
    path.unlink()
    path.parent.chmod(0o777)
    refused("others can write to the folder")
    path.parent.chmod(0o755)
    file = AuditFile(path, 100_000)
    refused("another process writes")
    file.close()
    AuditFile(path, 100_000).close()


def test_a_disk_that_fails_leaves_a_chain_that_holds(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = AuditFile(path, 100_000)
    file.write(MANY[:2])
    real = os.write
    room = 50

    def write(descriptor: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        count = real(descriptor, data[:room])
        room -= count
        return count

    monkeypatch.setattr(os, "write", write)
    for _ in range(2):
        with pytest.raises(AuditFileError, match="No space left on device"):
            file.write(MANY[2:4])
    monkeypatch.setattr(os, "write", real)
    file.write(MANY[2:4])
    file.close()
    found = checked(path)
    assert found.problem is None
    assert [line["what"] for line in lines_whole(path)] == ["joined"] * 2 + [TORN] + ["joined"] * 2


# A broker ----------------------------------------------------------------------------------------


class Audited:
    """A broker with keys and an audit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = KeyFolder(path.parent / "keys")
        self.public = self.folder.create()
        self.log_lines: list[str] = []
        self.url = ""

    def give(self, name: str) -> PeerKeys:
        pair = new_pair(name)
        self.folder.change(
            lambda text: f"{text}\n{lines_of([Holder(name, pair.public, None, ('everything',))])}"
        )
        return PeerKeys(pair, self.public)

    def _log(self, _level: str, text: str, _fields: dict[str, object]) -> None:
        self.log_lines.append(text)

    @asynccontextmanager
    async def running(self, *, required: bool = True) -> AsyncIterator[None]:
        store, stop = open_store("memory"), trio.Event()
        start = partial(
            serve,
            store,
            BrokerConfig(name="b"),
            "tcp://127.0.0.1:0",
            stop=stop,
            log=self._log,
            keys=BrokerKeys(self.folder.path),
            audit=AuditFile(self.path, 100_000),
            audit_required=required,
        )
        try:
            async with trio.open_nursery() as nursery:
                self.url = await nursery.start(start)
                yield
                stop.set()
        finally:
            store.close()

    @asynccontextmanager
    async def linked(self, peer: Peer, keys: PeerKeys) -> AsyncIterator[None]:
        way = Direct(keys)
        async with open_link(self.url, peer.hello, peer.on_messages, way=way) as peer.link:
            yield

    async def until_noted(self, what: str, count: int = 1) -> list[dict[str, Any]]:
        with trio.fail_after(DEADLINE_S):
            while True:
                found = [line for line in lines(self.path) if line["what"] == what]
                if len(found) >= count:
                    return found
                await trio.sleep(0.01)


@pytest.fixture
def audited(path: Path) -> Audited:
    return Audited(path)


async def test_a_broker_notes_who_came_and_what_they_did(audited: Audited) -> None:
    ann, bob = audited.give("ann"), audited.give("bob")
    client, stranger, node = Peer("c"), Peer("s"), Peer("n", credit=1)
    async with (
        audited.running(),
        audited.linked(client, ann),
        audited.linked(stranger, PeerKeys(new_pair("x"), audited.public)),
        audited.linked(node, bob),
    ):
        with trio.fail_after(DEADLINE_S):
            await client.link.wait_connected()
            await node.link.wait_connected()
        await client.create("p", "nobody")
        assert (await client.reply(PromiseCancel("p"))).status == 200
        [refused, *_] = await audited.until_noted("connection refused")
        assert (refused["why"], refused["address"]) == ("its key is unknown", "127.0.0.1")
        assert len(refused["key"]) == 40
        text = audited.folder.rights_path.read_text()
        audited.folder.rights_path.write_text("[identity")
        [wrong] = await audited.until_noted("rights refused")
        assert "rights.toml" in wrong["why"]
        audited.folder.rights_path.write_text(text)
        audited.folder.change(lambda text: without_identity(text, "bob", "revoked"))
        await audited.until_noted("expelled")
    found = checked(audited.path)
    assert (found.problem, found.torn) == (None, [])
    whole = lines(audited.path)
    assert (whole[0]["what"], whole[-1]["what"]) == ("started", "stopped")
    assert whole[0]["rights_sha256"]
    joined = {line["name"]: line for line in whole if line["what"] == "joined"}
    assert joined["c"]["identity"] == "ann"
    assert joined["n"]["address"] == "127.0.0.1"
    [command] = [line for line in whole if line["what"] == "command"]
    assert (command["command"], command["id"], command["identity"], command["status"]) == (
        "promise.cancel", "p", "ann", 200,
    )  # fmt: skip
    [expelled] = [line for line in whole if line["what"] == "expelled"]
    assert (expelled["identity"], expelled["name"]) == ("bob", "n")
    assert [line for line in whole if line["what"] == "rights read"]


async def test_a_disk_that_is_full_refuses_what_has_to_be_audited_until_it_is_not(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "RETRY_S", 0.05)
    ann = audited.give("ann")
    client = Peer("c")
    async with audited.running(), audited.linked(client, ann):
        with trio.fail_after(DEADLINE_S):
            await client.link.wait_connected()
        await client.create("p", "nobody")
        await client.create("q", "nobody")
        await audited.until_noted("joined")
        real = os.fsync

        def fsync(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", fsync)
        assert (await client.reply(PromiseCancel("p"))).status == 200
        with trio.fail_after(DEADLINE_S):
            while "the audit cannot be written" not in audited.log_lines:
                await trio.sleep(0.01)
        reply = await client.reply(PromiseCancel("q"))
        assert (reply.status, "No space left on device" in str(reply.error)) == (503, True)
        # Calls go on.
        await client.create("r", "nobody")
        monkeypatch.setattr(os, "fsync", real)
        with trio.fail_after(DEADLINE_S):
            while "the audit is written again" not in audited.log_lines:
                await trio.sleep(0.01)
        assert (await client.reply(PromiseCancel("q"))).status == 200
        await audited.until_noted("command", 2)
    assert checked(audited.path).problem is None
