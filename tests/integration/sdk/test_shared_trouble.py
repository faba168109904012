"""A database takes no writes, or has no room: brokers that share it lose nothing, and go on."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.cluster import Cluster, rows
from tests.integration.sdk.shared_brokers import Brokers, has_shares, shop
from tests.support import eventually
from understudy_store.engines.postgres.writer import LEASE_S

#: room for a database, and some hundred calls
DISK_MIB: Final = 64
EVEN: Final = [84, 86, 86]


@contextmanager
def three(store: str, logs: Path) -> Iterator[Brokers]:
    brokers = Brokers(store, logs)
    brokers.start("a", "b", "c")
    try:
        eventually(lambda: has_shares(brokers, EVEN), 30)
        yield brokers
    finally:
        brokers.kill()


def lasts(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until


def fenced(brokers: Brokers) -> list[str]:
    """The brokers that another one has taken over from."""
    return [name for (name,) in rows(brokers.store, "select name from writer where fenced")]


def test_a_database_takes_no_writes_for_longer_than_a_lease(
    postgres: Cluster, tmp_path: Path
) -> None:
    """All brokers wait, and nobody takes over from anybody, because nobody is to blame."""
    with three(postgres.new_schema(), tmp_path) as brokers, shop(brokers.url, "node") as node:
        before = [node.rpc(f"before-{n}", "total", 5) for n in range(60)]
        with ThreadPoolExecutor() as callers:
            postgres.configure("default_transaction_read_only = on")
            postgres.reload()
            try:
                others = [callers.submit(node.rpc, f"while-{n}", "total", 5) for n in range(20)]
                eventually(lasts(2 * LEASE_S), 3 * LEASE_S)
                assert not any(call.done() for call in others), "nothing can be stored"
                assert [each.poll() for each in brokers.running.values()] == [None] * 3
                for name in brokers.running:
                    assert "has taken no writes for" in brokers.log(name)
            finally:
                postgres.configure("default_transaction_read_only = off")
                postgres.reload()
            handles = before + [call.result() for call in others]
        assert [handle.result(timeout=60) for handle in handles] == [22] * 80
        assert fenced(brokers) == []
        assert has_shares(brokers, EVEN)


def test_a_broker_that_is_started_meanwhile_is_refused_in_words(
    postgres: Cluster, tmp_path: Path
) -> None:
    with three(postgres.new_schema(), tmp_path) as brokers:
        brokers.end("c", signal.SIGTERM)
        postgres.configure("default_transaction_read_only = on")
        postgres.reload()
        try:
            brokers.start("c")
            assert brokers.running.pop("c").wait(20) == 1
        finally:
            postgres.configure("default_transaction_read_only = off")
            postgres.reload()
        assert "default_transaction_read_only is on. Set it to off" in brokers.log("c")
        brokers.start("c")
        eventually(lambda: has_shares(brokers, EVEN), 30)


@pytest.fixture
def small(postgres: Cluster) -> Iterator[tuple[str, Path]]:
    """The URL of a store in a database that is on a small disk, and the folder of that disk."""
    # The server is another user, if root runs the tests, and may not enter their own folders.
    top = Path(tempfile.mkdtemp(prefix="understudy-disk-"))
    top.chmod(0o755)
    disk = top / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", f"size={DISK_MIB}m", "none", str(disk)]
    if mount is None or subprocess.run([mount, *options], capture_output=True).returncode:
        shutil.rmtree(top)
        pytest.skip("a file system of its own cannot be mounted here")
    place = disk / "tables"
    place.mkdir(0o700)
    shutil.chown(place, postgres.data.owner())
    with postgres.admin() as admin:
        admin.execute(f"create tablespace small location '{place}'".encode())
        name = postgres.new_database("tablespace small")
        try:
            yield postgres.url_of(name), disk
        finally:
            admin.execute(f"drop database {name} (force)".encode())
            admin.execute("drop tablespace small")
            subprocess.run(["umount", "--lazy", str(disk)], check=True)
            shutil.rmtree(top)


def test_the_disk_of_the_database_is_full(small: tuple[str, Path], tmp_path: Path) -> None:
    """Each broker that is refused a write stops; what was acknowledged is there afterwards."""
    store, disk = small
    filler = disk / "filler"
    with three(store, tmp_path) as brokers, shop(brokers.url, "node") as node:
        before = [node.rpc(f"before-{n}", "asks") for n in range(30)]
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass
        with ThreadPoolExecutor() as callers:
            calls = [callers.submit(node.rpc, f"c-{n}", "large", 30_000) for n in range(300)]
            eventually(lambda: any(each.poll() for each in brokers.running.values()), 60)
            ended = [name for name, each in brokers.running.items() if each.poll() is not None]
            filler.unlink()
            for name in ended:
                assert brokers.running.pop(name).wait() == 1
                assert "(53100). Make room on the disk of the database. Then" in brokers.log(name)
            eventually(lambda: are_restarted(brokers), 30)
            results = [call.result().result(timeout=60) for call in calls]
        assert results == [30_000] * 300
        for n in range(30):
            node.promises.resolve(f"people-before-{n}.before-{n}.1", n)
        assert [handle.result(timeout=60) for handle in before] == list(range(30))


def are_restarted(brokers: Brokers) -> bool:
    """Start brokers again that have ended, as a supervisor does; return whether all are back."""
    for name in "abc":
        process = brokers.running.get(name)
        if process is None or process.poll() is not None:
            brokers.start(name)
    return has_shares(brokers, EVEN)
