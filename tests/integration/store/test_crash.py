"""What was acknowledged is there after a kill; a full disk stops the store and harms nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.store.answers import committed, found
from understudy_store.changes import Changes
from understudy_store.commands import PromiseSearch
from understudy_store.engines.base import SOLE_EPOCH, Read
from understudy_store.engines.sqlite import journal
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.store import open_store

ROOT = Path(__file__).parents[3]

#: commits numbered batches of 20 for ever, and prints each number once it is acknowledged
WRITER = """
import os, resource, sys
from understudy_store import store as store_module
from understudy_store.engines.sqlite import journal
from understudy_store.engines.journaled import journaled_table
from tests.unit.store.samples import row, settled
from understudy_store.changes import Changes
from understudy_store.errors import StoreFailedError
from understudy_store.store import open_store

path, bytes_max, half_bytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
# only a change of half has the journal brought into the file
journaled_table.LAG_S = 3600.0
journal.HALF_BYTES = half_bytes
journal.RECORD_BYTES_MAX = min(half_bytes, journal.RECORD_BYTES_MAX)
# each commit is the writer's, however small it is
store_module.INLINE_ROWS_MAX = -1
store = open_store(path)
if bytes_max:
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, resource.RLIM_INFINITY))

def report(number):
    def done(result):
        if isinstance(result, StoreFailedError):
            os.write(2, f"{result}\\n".encode())
            os._exit(7)
        os.write(1, f"{number}\\n".encode())
    return done

from threading import Semaphore
room = Semaphore(4)

def released(done):
    def both(result):
        done(result)
        room.release()
    return both

before = []
number = 0
while True:
    room.acquire()
    rows = [row(f"p.{number}.{n}") for n in range(20)]
    changes = Changes(number + 1, inserted=rows, updated=[settled(r, number + 1) for r in before])
    store.commit(changes, [], released(report(number)))
    before, number = rows, number + 1
"""


def _start(
    path: Path, bytes_max: int = 0, half_bytes: int = journal.HALF_BYTES
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(bytes_max), str(half_bytes)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def _check(path: Path, acknowledged: int) -> int:
    """All batches up to `acknowledged` are there, whole; returns how many batches there are."""
    store = open_store(str(path))
    snapshot = store.snapshot
    live = list(snapshot.live)
    count = snapshot.now
    assert count > acknowledged
    last = count - 1
    # The last batch is pending, wholly; all before it were settled in the commit after theirs.
    assert {row.id for row in live} == {f"p.{last}.{n}" for n in range(20)}
    ids = [f"p.{number}.{n}" for number in range(count) for n in range(20)]
    settled_at = {row.promise.id: row.promise.settled_at for row in found(store, ids)}
    assert settled_at == {
        f"p.{number}.{n}": None if number == last else number + 2
        for number in range(count)
        for n in range(20)
    }
    assert found(store, [f"p.{count}.0"]) == []
    store.close()
    return count


def _in_file(path: Path) -> int:
    """How many commits SQLite's file has, with its log."""
    with closing(sqlite3.connect(path)) as file:
        [[number]] = file.execute("SELECT value FROM meta WHERE key = 'commit'")
        return int(number)


@pytest.mark.parametrize("half_kib", [journal.HALF_BYTES // 1024, 64])
def test_what_was_acknowledged_survives_a_kill(
    tmp_path: Path, half_kib: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "HALF_BYTES", half_kib * 1024)
    path = tmp_path / "x.db"
    with _start(path, half_bytes=half_kib * 1024) as process:
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in range(150)]
        process.send_signal(signal.SIGKILL)
        printed += process.stdout.readlines()
        assert process.wait(10) == -signal.SIGKILL
    numbers = [int(line) for line in printed]
    assert numbers == list(range(len(numbers)))
    in_file = _in_file(path)
    if half_kib == 64:
        assert in_file > 0  # by several changes of half
    else:
        assert in_file == 0  # all is in the journal alone
    count = _check(path, numbers[-1])
    assert _in_file(path) == count
    assert not path.with_name("x.db.journal").exists()


def test_a_full_disk_stops_the_store_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal has its room; what has none is SQLite's log, with what was in the journal."""
    monkeypatch.setattr(journal, "HALF_BYTES", 64 * 1024)
    path = tmp_path / "x.db"
    open_store(str(path)).close()
    with _start(path, bytes_max=400_000, half_bytes=64 * 1024) as process:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 7, err
    assert "failed: " in err
    assert "the journal: " not in err
    assert "All that was acknowledged is safe" in err
    numbers = [int(line) for line in out.splitlines()]
    assert numbers == list(range(len(numbers)))
    assert _in_file(path) < len(numbers)
    count = _check(path, numbers[-1])
    # With room again all goes on where it was.
    store = open_store(str(path))
    assert store.snapshot.now == count
    changes = Changes(count + 1, updated=[row.row() for row in store.snapshot.live])
    assert committed(store, changes) == []
    store.close()


@pytest.mark.parametrize("room", [1024 * 1024, 1024 * 1024 + 4096])
def test_no_room_for_the_journal_is_said_when_the_store_is_opened(
    room: int, tmp_path: Path
) -> None:
    """At once at the end of a write, or in the middle of one."""
    path = tmp_path / "x.db"
    script = """
import resource, sys
from understudy_store.errors import StoreAccessError
from understudy_store.store import open_store

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    open_store(sys.argv[1])
except StoreAccessError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), str(room)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert f"cannot use {path}.journal as a store: " in done.stdout
    assert "Make room" in done.stdout
    # What there was of it is given back; and with room all is well.
    assert path.with_name("x.db.journal").stat().st_size == 0
    open_store(str(path)).close()


def test_reading_writes_nothing(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "x.db")
    assert not list(engine.load().live)
    files = [tmp_path / "x.db-wal", tmp_path / "x.db.journal"]
    before = [(each.stat().st_size, each.stat().st_mtime_ns) for each in files]
    engine.commit(Changes(5), [Read(PromiseSearch(), 5)], SOLE_EPOCH)
    engine.find(["a"])
    assert [(each.stat().st_size, each.stat().st_mtime_ns) for each in files] == before
    engine.close()
