"""Locks: of other programs on the file, which are waited for, and of the store's owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.store.journal_world import (
    BLOCKS,
    bring_in_after,
    flush,
    ids_of,
    in_file,
    insert,
)
from tests.support import eventually
from understudy_store.engines.base import Opening
from understudy_store.engines.sqlite import database, lock_wait
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.errors import StoreError, StoreLockedError

ROOT = Path(__file__).parents[3]

LOCKER = """
import sqlite3, sys
file = sqlite3.connect(sys.argv[1], isolation_level=None)
file.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
file.execute("ROLLBACK")
"""

OWNER = r"""
import os, signal, sys
from pathlib import Path
from understudy_store.engines.sqlite.engine import SqliteEngine

engine = SqliteEngine(Path(sys.argv[1]))
if sys.argv[2] != "alone" and os.fork() == 0:
    if sys.argv[3] == "closes":
        engine.close()  # as a child may, that ends in order
    os.write(1, f"{os.getpid()}\n".encode())
    signal.pause()
if sys.argv[2] == "closed":
    engine.close()
os.write(1, b"open\n")
signal.pause()
"""


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.02)
    monkeypatch.setattr(lock_wait, "PATIENCE_AT_CLOSE_S", 0.0)


@contextmanager
def _running(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def _locked(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another program has the lock until it is sent a line."""
    with _running(LOCKER, str(path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process


def _let_go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


# ---- other programs -----------------------------------------------------------------------------


def test_a_lock_of_another_program_is_waited_for_and_the_program_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_in_after(monkeypatch, 0.0)
    told: list[str] = []
    engine = SqliteEngine(path, Opening(tell=told.append))
    with _locked(path) as program:
        insert(engine, "a")
        eventually(lambda: told)
        # Commits and finds go on.
        insert(engine, "b")
        assert len(engine.find(["a", "b", "c"])) == 2
        assert in_file(path) == []
        assert engine.journaled.failure is None
        assert told[0].startswith("waiting for ")
        if sys.platform == "linux":
            assert f"process {program.pid} (python" in told[0]
        _let_go(program)
        eventually(lambda: in_file(path) == ["a", "b"])
    assert len(told) == 2
    assert "is free again" in told[1]
    engine.close()
    assert not path.with_name("x.db.journal").exists()


@pytest.mark.usefixtures("small_halves")
def test_the_journal_takes_what_it_can_and_then_commits_wait_elsewhere(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the broker's loop, a commit that waits would also hold up heartbeats."""
    bring_in_after(monkeypatch, 0.0)
    engine = SqliteEngine(path)
    with _locked(path) as program:
        insert(engine, "0")
        eventually(lambda: engine.journaled.view.sealed)
        number = 1
        while engine.inline and number <= BLOCKS:
            insert(engine, str(number))
            number += 1
        # Any record that the journal takes had room until now.
        assert number == 1 + BLOCKS - 1
        _let_go(program)
        eventually(lambda: engine.inline)
        insert(engine, "after")
    assert len(ids_of(engine)) == number + 1
    engine.close()


def test_a_store_is_closed_although_another_program_has_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_in_after(monkeypatch, 0.0)
    told: list[str] = []
    engine = SqliteEngine(path, Opening(tell=told.append))
    with _locked(path):
        insert(engine, "a")
        eventually(lambda: told)
        engine.close()
        assert path.with_name("x.db.journal").exists()
    engine = SqliteEngine(path)
    assert ids_of(engine) == ["a"]
    engine.close()


def test_a_store_that_is_locked_when_it_is_opened_is_waited_for(path: Path) -> None:
    SqliteEngine(path).close()
    with _locked(path) as program:
        told: list[str] = []

        def tell(text: str) -> None:
            if not told:
                _let_go(program)
            told.append(text)

        engine = SqliteEngine(path, Opening(tell=tell))
        assert told[0].startswith("waiting for ")
        flush(engine)
        engine.close()


def test_other_errors_are_not_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SqliteEngine(path)
    engine._database._driver.execute("DROP TABLE promise")
    insert(engine, "a")
    with pytest.raises(StoreError, match="no such table"):
        flush(engine)
    engine.close()


# ---- the owner ----------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the path is locked")
def test_a_store_is_one_under_all_names_of_its_file(path: Path) -> None:
    SqliteEngine(path).close()
    link = path.with_name("link.db")
    os.link(path, link)
    with _running(OWNER, str(path), "alone") as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "open\n"
        with pytest.raises(StoreLockedError, match=f"process {owner.pid} .*another name") as caught:
            SqliteEngine(link)
        assert str(link) in str(caught.value)
    engine = SqliteEngine(path)
    with pytest.raises(StoreLockedError, match=f"process {os.getpid()} on"):
        SqliteEngine(link)
    engine.close()
    SqliteEngine(link).close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists locks")
def test_a_second_owner_in_one_process_does_not_harm_the_first(path: Path) -> None:
    """The locks of SQLite are lost when the process closes any descriptor of the file."""

    def locks() -> set[str]:
        inode = str(path.stat().st_ino)
        lines = Path("/proc/locks").read_text().splitlines()
        # Each begins with its place in the list of all processes' locks, which changes. While other
        # processes take and release locks, a line may be read twice, or not at all.
        ours = [line for line in lines if "POSIX" in line and f":{inode} " in line]
        return {line.partition(":")[2] for line in ours}

    engine = SqliteEngine(path)
    before = eventually(locks)
    with pytest.raises(StoreLockedError):
        SqliteEngine(path)
    eventually(lambda: locks() >= before)
    engine.close()


@pytest.mark.parametrize("end", ["killed", "closed"])
@pytest.mark.parametrize("child_does", ["nothing", "closes"])
def test_a_forked_child_does_not_keep_the_lock(path: Path, end: str, child_does: str) -> None:
    """It lives on when its parent was killed, or has closed the store."""
    with _running(OWNER, str(path), end, child_does) as owner:
        assert owner.stdout is not None
        lines = sorted(owner.stdout.readline().strip() for _ in range(2))
        child = int(lines[0])
        try:
            if end == "killed":
                with pytest.raises(StoreLockedError, match=f"process {owner.pid} on"):
                    SqliteEngine(path)
                assert path.with_name("x.db.journal").exists(), "the child has no part in it"
                owner.kill()
                owner.wait()
            SqliteEngine(path).close()
            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)
