"""After any loss of power a store opens, and no acknowledged batch is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from unittest import mock

import pytest

from tests.powerloss.disk import Disk
from tests.powerloss.events import (
    Create,
    Delete,
    Event,
    Lost,
    Opened,
    Sync,
    SyncDirectory,
    SyncWrite,
    Truncate,
    Write,
)
from tests.powerloss.recorder import Recorder
from tests.powerloss.run import Checker, Task, play_one
from tests.powerloss.script import NAME, BatchBounds, Life, Sizes, State
from understudy_store.changes import Snapshot
from understudy_store.store import open_store

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("seed", range(5))
def test_no_acknowledged_batch_is_missing(folder: Path, seed: int) -> None:
    """`make powerloss` opens thousands of images like these."""
    outcome = play_one(Task(seed, 15, folder))
    assert outcome.failures == []
    assert outcome.counts["images"] == 15


def test_a_seed_has_the_same_outcome_each_time(folder: Path) -> None:
    assert play_one(Task(1, 5, folder)) == play_one(Task(1, 5, folder))


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_a_life_follows_from_its_seed(folder: Path, seed: int) -> None:
    """Apart from random bytes: the id of the store, and the salts in SQLite's log."""
    lives = [Life(seed, folder / str(n)) for n in range(2)]
    assert not lives[0].sizes.free
    one, other = ([_shape(e) for part in life.sessions for e in part.events] for life in lives)
    assert one == other


def _shape(event: Event) -> tuple[object, ...]:
    match event:
        case Write(name, offset, data):
            return Write, name, offset, len(data)
        case Lost(files):
            return Lost, {name: len(data) for name, data in files.items()}
        case _:
            return (event,)


def test_a_store_opens_after_its_creation_was_interrupted_anywhere(folder: Path) -> None:
    """After each event of the creation the power is lost, or the process dies."""
    recorder = Recorder(folder)
    empty = [State(Snapshot(), {})]
    with Sizes(8, 8, 8).used():
        with recorder.recording():
            store = open_store(str(folder / NAME))
            recorder.log.append(Opened(0))
            store.close()
        checker = Checker(folder)
        disk, random = Disk(), Random(1)
        seen: set[int] = set()
        for number, event in enumerate(recorder.log):
            disk.apply(event)
            found = [disk.visible()]
            if number % 4 == 0 or not _is_common_write(event):
                found += [disk.image("none", random), disk.image("torn", random)]
            for files in found:
                mark = hash(frozenset(files.items()))
                if mark not in seen:
                    seen.add(mark)
                    assert checker.check(files, BatchBounds(), empty) == 0
    assert len(seen) > 50


def test_a_store_with_a_torn_first_page_opens(folder: Path) -> None:
    """Without its first sector the file has no header; SQLite's journal says that it was empty."""
    recorder = Recorder(folder)
    with Sizes().used(), recorder.recording():
        open_store(str(folder / NAME)).close()
    disk = Disk()
    for event in recorder.log:
        disk.apply(event)
        if isinstance(event, Write) and event.name == NAME:
            break
    files = disk.visible()
    assert {*files} == {NAME, f"{NAME}-journal"}
    files[NAME] = bytes(512) + files[NAME][512:]
    assert Checker(folder).check(files, BatchBounds(), [State(Snapshot(), {})]) == 0


def _is_common_write(event: Event) -> bool:
    """Return whether the event is one of the many writes to other files than SQLite's journal."""
    return isinstance(event, Write) and event.name != f"{NAME}-journal"


# ---- the disk -----------------------------------------------------------------------------------


def test_synced_data_stays_and_unsynced_data_may_be_lost() -> None:
    disk = Disk()
    for event in (Create("a"), SyncDirectory(), Write("a", 0, b"old"), Sync("a")):
        disk.apply(event)
    disk.apply(Write("a", 0, b"new" + bytes(1000)))
    random = Random(0)
    assert disk.image("none", random) == {"a": b"old"}
    assert disk.image("all", random) == disk.visible() == {"a": b"new" + bytes(1000)}
    torn = {disk.image("torn", random)["a"][:3] for _ in range(50)}
    assert torn == {b"old", b"new"}
    disk.apply(Truncate("a", 2))
    assert {disk.image("prefix", random)["a"] for _ in range(50)} == {
        b"old",
        b"new" + bytes(509),
        b"new" + bytes(1000),
        b"ne",
    }


def test_a_write_that_syncs_itself_does_not_sync_other_writes() -> None:
    disk, random = Disk({"a": bytes(4)}), Random(0)
    event: Event
    for event in (Write("a", 0, b"1111"), Write("a", 1, b"22"), SyncWrite("a")):
        disk.apply(event)
    assert disk.image("none", random) == {"a": b"\x0022\0"}
    assert disk.image("all", random) == disk.visible() == {"a": b"1221"}
    assert {disk.image("writes", random)["a"] for _ in range(50)} == {
        b"\x0022\0",
        b"1221",
    }
    for event in (Truncate("a", 0), Write("a", 1, b"3"), SyncWrite("a")):
        disk.apply(event)
    assert disk.image("all", random) == disk.visible() == {"a": b"\x003"}
    assert disk.image("none", random)["a"] == b"\x0032\0"


def test_a_directory_entry_is_durable_once_the_directory_is_synced() -> None:
    disk, random = Disk({"a": b"1"}), Random(0)
    disk.apply(Delete("a"))
    disk.apply(Create("b"))
    assert disk.image("none", random) == {"a": b"1"}
    assert disk.image("all", random) == {"b": b""}
    assert {tuple(disk.image("writes", random)) for _ in range(50)} == {
        (),
        ("a",),
        ("b",),
        ("a", "b"),
    }
    disk.apply(SyncDirectory())
    assert disk.image("none", random) == {"b": b""}
    disk.apply(Lost({"c": b"3"}))
    assert disk.image("none", random) == disk.visible() == {"c": b"3"}


# ---- the directory of the store ---------------------------------------------------------------


def test_the_directory_is_synced_once_the_store_is_made(tmp_path: Path) -> None:
    path = tmp_path / NAME
    synced: list[bool] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        real(fd)
        if os.path.samestat(tmp_path.stat(), os.fstat(fd)):
            synced.append(path.exists())

    with mock.patch("os.fsync", fsync):
        open_store(str(path)).close()
    assert True in synced


# ---- the recorder -------------------------------------------------------------------------------


@pytest.fixture
def traced(tmp_path: Path) -> list[str]:
    """Return the system calls of a process that makes a store and commits, as strace sees them."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    out = tmp_path / "trace"
    (tmp_path / "real").mkdir()
    calls = "openat,write,pwrite64,pwritev,pwritev2,ftruncate,fsync,fdatasync,unlink"
    command = ["strace", "-f", "-y", "-o", str(out), "-e", f"trace={calls}", sys.executable]
    done = subprocess.run(
        [*command, "-c", SCRIPT, str(tmp_path / "real")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        capture_output=True,
        text=True,
    )
    if "ptrace" in done.stderr:
        pytest.skip("strace is not permitted here")
    assert done.returncode == 0, done.stderr
    return [line for line in out.read_text().splitlines() if str(tmp_path / "real") in line]


SCRIPT = """
import sys
import tempfile
from pathlib import Path
from tests.powerloss.script import NAME, Sizes
from tests.unit.store.answers import committed
from tests.unit.store.samples import row
from understudy_store.changes import Changes
from understudy_store.commands import PromiseSearch
from understudy_store.engines.base import Read
from understudy_store.store import open_store

with Sizes().used():
    store = open_store(str(Path(sys.argv[1]) / NAME))
    for n in range(5):
        # The read causes the journal to be brought into the file, so both halves are written.
        reads = [Read(PromiseSearch(), n)] if n == 2 else []
        committed(store, Changes(n + 1, inserted=[row(f"p{n}")]), reads)
    store.close()
"""


def test_the_recorder_sees_what_the_system_sees(tmp_path: Path, traced: list[str]) -> None:
    """The recorder and strace see the same writes and syncs of the files, in the same order."""
    folder = tmp_path / "recorded"
    folder.mkdir()
    recorder = Recorder(folder)
    with recorder.recording(), mock.patch.object(sys, "argv", ["", str(folder)]):
        exec(SCRIPT, {})
    ours = []
    for event in recorder.log:
        if isinstance(event, Write):
            ours.append(("write", event.name, len(event.data)))
        elif isinstance(event, Sync | SyncWrite):
            ours.append(("sync", event.name, 0))
        elif isinstance(event, SyncDirectory):
            ours.append(("sync", "real", 0))
    # One for the new file, one for the write that tries out O_DSYNC, and one for each record.
    assert ours.count(("sync", f"{NAME}.journal", 0)) == 1 + 1 + 5
    assert _merged(ours) == _merged(_calls(traced))


def _whole(lines: list[str]) -> Iterator[str]:
    """Yield the calls; one that another thread's has interrupted is on two lines."""
    begun: dict[str, str] = {}
    for line in lines:
        thread, call = line.split(None, 1)
        if call.rstrip().endswith("<unfinished ...>"):
            begun[thread] = call.rpartition("<unfinished")[0]
        elif call.startswith("<... ") and thread in begun:
            yield begun.pop(thread) + call.partition("resumed>")[2]
        else:
            yield call


def _calls(lines: list[str]) -> Iterator[tuple[str, str, int]]:
    files = (NAME, f"{NAME}-wal", f"{NAME}-journal", f"{NAME}.journal")
    durable = False
    for call in _whole(lines):
        name = call.partition("<")[2].partition(">")[0].rpartition("/")[2]
        if call.startswith("openat") and f'{NAME}.journal"' in call:
            durable = "O_DSYNC" in call
        if call.startswith(("fsync", "fdatasync")) and name in (*files, "real"):
            yield "sync", name, 0
        elif call.startswith(("pwrite64", "write")) and name in files:
            yield "write", name, int(call.rpartition("= ")[2])
        elif call.startswith("pwritev"):
            yield "write", name, int(call.rpartition("= ")[2])
            if durable:
                yield "sync", name, 0


def _merged(calls: Iterable[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Merge consecutive writes to one file."""
    merged: list[tuple[str, str, int]] = []
    for kind, name, size in calls:
        if merged and merged[-1][:2] == (kind, name):
            size += merged.pop()[2]
        merged.append((kind, name, size))
    return merged
