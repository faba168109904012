"""What a store finds in its journal when it is opened, and what it does when its disk fails."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from unittest import mock

import pytest

from tests.support import eventually
from tests.unit.store.answers import committed, found
from tests.unit.store.samples import row, settled
from understudy_store.changes import Changes
from understudy_store.commands import PromiseSearch
from understudy_store.engines.base import Opening, Read
from understudy_store.engines.journaled import journaled_table
from understudy_store.engines.journaled.memtable import Memtable
from understudy_store.engines.sqlite import journal
from understudy_store.engines.sqlite.database import Database
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.engines.sqlite.journal import BLOCK_BYTES
from understudy_store.errors import StoreError, StoreFailedError, StoreFormatError
from understudy_store.store import Store, open_store

IDS = ["p0", "p1", "p2"]
MORE = ("", "-wal", ".journal")


@pytest.fixture(autouse=True)
def slow_follower() -> Iterator[None]:
    """Nothing goes from the journal to the file by itself."""
    with mock.patch.object(journaled_table, "LAG_S", 3600.0):
        yield


def commit(store: Store, changes: Changes) -> None:
    """One more commit, whose record takes one block."""
    assert committed(store, changes) == []


def copied(store: Path, folder: Path) -> Path:
    """The files of an open store as a process that is killed leaves them."""
    folder.mkdir()
    for more in MORE:
        shutil.copyfile(f"{store}{more}", f"{folder / store.name}{more}")
    return folder / store.name


def journal_of(store: Path) -> Path:
    return Path(f"{store}.journal")


def found_in(path: Path) -> list[str]:
    """What a store holds when it is opened, of `IDS`."""
    store = open_store(str(path))
    ids = [each.promise.id for each in found(store, IDS)]
    store.close()
    return ids


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A store that was killed: three commits are in its journal, one after the other."""
    path = tmp_path / "x.db"
    store = open_store(str(path))
    for n, id_ in enumerate(IDS):
        commit(store, Changes(n + 1, inserted=[row(id_)]))
    killed = copied(path, tmp_path / "killed")
    store.close()
    return killed


def spoil(path: Path, record: int) -> None:
    """Turn one bit of a record, well within what it holds."""
    content = bytearray(path.read_bytes())
    content[(1 + record) * BLOCK_BYTES + 50] ^= 1
    path.write_bytes(content)


# ---- what is found ------------------------------------------------------------------------------


def test_what_was_left_in_the_journal_is_brought_into_the_file(left: Path) -> None:
    assert found_in(left) == IDS
    # and it is in the file: the journal went when the store was closed
    assert not journal_of(left).exists()
    assert found_in(left) == IDS


def test_a_record_that_was_cut_short_was_not_acknowledged(left: Path) -> None:
    spoil(journal_of(left), 2)
    assert found_in(left) == IDS[:2]
    # its number is free again
    store = open_store(str(left))
    commit(store, Changes(3, inserted=[row("p2")]))
    killed = copied(left, left.parent / "again")
    store.close()
    assert found_in(killed) == IDS


@pytest.mark.parametrize("record", [0, 1])
def test_a_damaged_record_before_the_last_is_not_passed_over(left: Path, record: int) -> None:
    spoil(journal_of(left), record)
    before = journal_of(left).read_bytes()
    with pytest.raises(StoreFormatError, match=f"commit {record + 1} is in neither") as caught:
        open_store(str(left))
    assert "Restore both from a copy. To go on without its commits, move" in str(caught.value)
    assert journal_of(left).read_bytes() == before
    # as it says: without the journal the store has what is in the file
    journal_of(left).rename(left.parent / "away")
    with pytest.raises(StoreFormatError, match="is missing"):
        open_store(str(left))
    open_store(str(left), Opening(accept_lost_journal=True)).close()
    assert found_in(left) == []


def test_the_journal_of_another_store_is_not_taken(left: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    open_store(str(other)).close()
    shutil.copyfile(journal_of(left), journal_of(other))
    with pytest.raises(StoreFormatError, match="is the journal of another store"):
        open_store(str(other))
    assert journal_of(other).read_bytes() == journal_of(left).read_bytes()
    journal_of(other).unlink()
    assert found_in(other) == []


@pytest.mark.parametrize("emptied", [False, True])
def test_a_journal_whose_store_is_gone_is_kept(left: Path, emptied: bool) -> None:
    content = left.read_bytes()
    for more in ("", "-wal"):
        log = Path(f"{left}{more}")
        log.rename(f"{log}.away")
    if emptied:
        left.touch()
    before = sorted(path.name for path in left.parent.iterdir())
    with pytest.raises(StoreFormatError, match=r"x\.db is missing or empty, but its journal"):
        open_store(str(left))
    assert sorted(path.name for path in left.parent.iterdir()) == before
    left.write_bytes(content)
    Path(f"{left}-wal.away").rename(f"{left}-wal")
    assert found_in(left) == IDS


def test_a_journal_whose_commits_are_all_in_the_file_adds_nothing(
    left: Path, tmp_path: Path
) -> None:
    before = journal_of(left).read_bytes()
    store = open_store(str(left))
    commit(store, Changes(4, updated=[settled(row("p0"))]))
    store.close()
    journal_of(left).write_bytes(before)
    store = open_store(str(left))
    assert {each.promise.id: each.promise.state for each in found(store, IDS)} == {
        "p0": "resolved",
        "p1": "pending",
        "p2": "pending",
    }
    # nor does what is left of it behind the records of today
    commit(store, Changes(5, updated=[settled(row("p1"))]))
    killed = copied(left, tmp_path / "again")
    store.close()
    store = open_store(str(killed))
    assert [each.id for each in store.snapshot.live] == ["p2"]
    store.close()


def test_a_commit_too_large_for_the_journal_comes_between_others(tmp_path: Path) -> None:
    """It is in the file alone, and those after it are in the journal: none is missing."""
    path = tmp_path / "x.db"
    with mock.patch.object(journal, "RECORD_BYTES_MAX", BLOCK_BYTES):
        store = open_store(str(path))
        commit(store, Changes(1, inserted=[row("p0")]))
        commit(store, Changes(2, inserted=[row("p1", long="x" * BLOCK_BYTES)]))
        large = copied(path, tmp_path / "large")
        commit(store, Changes(3, inserted=[row("p2")]))
        after = copied(path, tmp_path / "after")
        store.close()
    assert found_in(large) == IDS[:2]
    assert found_in(after) == IDS


def test_what_is_being_brought_in_is_found_meanwhile(tmp_path: Path) -> None:
    begun, go_on = Event(), Event()
    real = Database.write

    def write(self: Database, pending: Memtable, number: int) -> None:
        begun.set()
        assert go_on.wait(30)
        real(self, pending, number)

    path = tmp_path / "x.db"
    with (
        mock.patch.object(journaled_table, "LAG_S", 0.0),
        mock.patch.object(Database, "write", write),
    ):
        store = open_store(str(path))
        commit(store, Changes(1, inserted=[row("p0")]))
        assert begun.wait(30)
        commit(store, Changes(2, inserted=[row("p1")]))
        ids = [each.promise.id for each in found(store, IDS)]
        go_on.set()
        store.close()
    assert ids == ["p0", "p1"]
    assert found_in(path) == ["p0", "p1"]


# ---- copies of the file -------------------------------------------------------------------------


@pytest.mark.parametrize("with_log", [False, True])
def test_a_copy_without_its_journal_is_not_opened_silently(tmp_path: Path, with_log: bool) -> None:
    """Also not if only the file itself was copied, without SQLite's log."""
    path, copy = tmp_path / "x.db", tmp_path / "copy.db"
    open_store(str(path)).close()
    store = open_store(str(path))
    for n, id_ in enumerate(IDS):
        commit(store, Changes(n + 1, inserted=[row(id_)]))
    for more in MORE[: 1 + with_log]:
        shutil.copyfile(f"{path}{more}", f"{copy}{more}")
    store.close()
    with pytest.raises(StoreFormatError, match="copied without its journal") as caught:
        open_store(str(copy))
    assert f"{copy}.journal is missing" in str(caught.value)
    open_store(str(copy), Opening(accept_lost_journal=True)).close()
    assert found_in(copy) == []
    assert found_in(path) == IDS


def test_a_copy_of_a_store_that_was_closed_in_order_is_complete(tmp_path: Path) -> None:
    path, copy = tmp_path / "x.db", tmp_path / "copy.db"
    store = open_store(str(path))
    commit(store, Changes(1, inserted=[row("p0")]))
    store.close()
    shutil.copyfile(path, copy)
    assert found_in(copy) == ["p0"]


def test_a_copy_whose_journal_was_cut_short_is_not_opened_silently(left: Path) -> None:
    journal = journal_of(left)
    journal.write_bytes(journal.read_bytes()[: 3 * BLOCK_BYTES])
    with pytest.raises(StoreFormatError, match="was cut short, as by a copy to a full disk"):
        open_store(str(left))
    open_store(str(left), Opening(accept_lost_journal=True)).close()
    assert found_in(left) == IDS[:2]


def test_an_older_copy_is_refused_beside_a_newer_journal(left: Path, tmp_path: Path) -> None:
    """The journal has commits that the copy lacks, and those before them are in neither."""
    path, copy = tmp_path / "x.db", tmp_path / "copy.db"
    shutil.copyfile(path, copy)
    store = open_store(str(path))
    commit(store, Changes(4, updated=[settled(row("p0"))]))
    killed = copied(path, tmp_path / "later")
    store.close()
    for more in ("", "-wal"):
        Path(f"{killed}{more}").unlink()
    shutil.copyfile(copy, killed)
    with pytest.raises(StoreFormatError, match="is of another time than the store beside it"):
        open_store(str(killed))


# ---- a disk that fails --------------------------------------------------------------------------


def full(*_: object) -> None:
    raise StoreError("database or disk is full")


def test_what_cannot_be_brought_in_stops_the_store_at_the_next_commit(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with (
        mock.patch.object(journaled_table, "LAG_S", 0.0),
        mock.patch.object(Database, "write", full),
    ):
        engine = SqliteEngine(path)
        store = Store(engine)
        commit(store, Changes(1, inserted=[row("p0")]))
        eventually(lambda: engine.journaled.failure)
        result = committed(store, Changes(2, inserted=[row("p1")]))
        assert isinstance(result, StoreFailedError)
        assert "failed: database or disk is full. All that was acknowledged is safe" in str(result)
        store.close()
    assert found_in(path) == ["p0"]


@pytest.mark.parametrize("with_read", [False, True])
def test_what_cannot_be_brought_in_when_it_is_closed_stays_in_the_journal(
    tmp_path: Path, with_read: bool
) -> None:
    path = tmp_path / "x.db"
    store = open_store(str(path))
    commit(store, Changes(1, inserted=[row("p0")]))
    with mock.patch.object(Database, "write", full):
        if with_read:
            result = committed(store, Changes(2), [Read(PromiseSearch(), 2)])
            assert isinstance(result, StoreFailedError)
        store.close()
    assert journal_of(path).exists()
    assert found_in(path) == ["p0"]


def short(fd: int, parts: list[memoryview], offset: int) -> int:
    return 512


def broken(fd: int, parts: list[memoryview], offset: int) -> int:
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize(
    ("pwritev", "words"),
    [(broken, "the journal: Input/output error"), (short, "the journal: only 512 of 4096 bytes")],
)
def test_a_commit_that_the_journal_does_not_take_stops_the_store(
    tmp_path: Path, pwritev: Callable[..., int], words: str
) -> None:
    path = tmp_path / "x.db"
    store = open_store(str(path))
    commit(store, Changes(1, inserted=[row("p0")]))
    with mock.patch("os.pwritev", pwritev):
        result = committed(store, Changes(2, inserted=[row("p1")]))
    assert isinstance(result, StoreFailedError)
    assert words in str(result)
    assert committed(store, Changes(3, inserted=[row("p2")])) is result
    store.close()
    assert found_in(path) == ["p0"]
