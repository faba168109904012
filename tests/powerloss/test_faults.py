"""The checks find the damage that a loss of power does to stores that are broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.powerloss.run import PER_LIFE, Task, command, play_one
from understudy_store.engines.journaled.memtable import Memtable
from understudy_store.engines.sqlite import database, engine, journal
from understudy_store.engines.sqlite.database import Database
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.engines.sqlite.journal import Journal
from understudy_store.engines.sqlite.journal_recovery import recover

Break: TypeAlias = Callable[[pytest.MonkeyPatch], None]

#: Messages that only a wrong image causes.
FINDINGS = (
    "batches are there",
    "not what was committed before",
    "Difference at",
    "is damaged",
    "do not follow",
    "of another store",
    "of another time",
    "is missing",
)


def _sqlite_does_not_sync(patch: pytest.MonkeyPatch) -> None:
    pragmas = tuple(each.replace("=FULL", "=OFF") for each in database._WRITER_PRAGMAS)
    patch.setattr(database, "_WRITER_PRAGMAS", pragmas)


def _sqlite_syncs_checkpoints_only(patch: pytest.MonkeyPatch) -> None:
    pragmas = tuple(each.replace("=FULL", "=NORMAL") for each in database._WRITER_PRAGMAS)
    patch.setattr(database, "_WRITER_PRAGMAS", pragmas)


def _a_commit_is_acknowledged_before_it_is_synced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(journal, "_SYNCED", 0)


def _a_new_journal_is_not_synced(patch: pytest.MonkeyPatch) -> None:
    """Leave its directory entry unsynced too, so the journal may vanish with all its records."""
    patch.setattr(journal, "sync_directory", lambda path: None)


def _a_half_is_written_over_before_it_is_in_the_file(patch: pytest.MonkeyPatch) -> None:
    def switch(self: Journal) -> None:
        self._at = self._start

    patch.setattr(Journal, "switch", switch)


def _a_record_begins_where_the_last_one_ends(patch: pytest.MonkeyPatch) -> None:
    """Write the last sectors of the previous record again, which may tear them."""
    real = Journal.append

    def append(self: Journal, data: bytes) -> None:
        real(self, data)
        self._at -= journal.BLOCK_BYTES // 2

    patch.setattr(Journal, "append", append)


def _the_last_record_is_left_out(patch: pytest.MonkeyPatch) -> None:
    def wrong(path: Path, store: bytes, number: int, mark: bytes, **more: Any) -> list[bytes]:
        return recover(path, store, number, mark, **more)[:-1]

    patch.setattr(engine, "recover", wrong)


def _a_torn_record_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(journal, "_crc", lambda unsealed, data: 0)


def _the_number_is_written_after_what_it_counts(patch: pytest.MonkeyPatch) -> None:
    real = Database.write

    def write(self: Database, pending: Memtable, number: int) -> None:
        real(self, pending, self.number)
        self._set("commit", number)
        self.number = number

    patch.setattr(Database, "write", write)


def _the_number_is_written_before_what_it_counts(patch: pytest.MonkeyPatch) -> None:
    real = Database.write

    def write(self: Database, pending: Memtable, number: int) -> None:
        self._set("commit", number)
        real(self, pending, number)

    patch.setattr(Database, "write", write)


def _the_journal_is_removed_before_it_is_in_the_file(patch: pytest.MonkeyPatch) -> None:
    real = SqliteEngine.close

    def close(self: SqliteEngine) -> None:
        with suppress(FileNotFoundError):
            self._journal.path.unlink()
        real(self)

    patch.setattr(SqliteEngine, "close", close)


def _what_was_left_is_written_over_before_it_is_in_the_file(patch: pytest.MonkeyPatch) -> None:
    def wrong(path: Path, store: bytes, number: int, mark: bytes, **more: Any) -> list[bytes]:
        left = recover(path, store, number, mark, **more)
        Journal(path, store, number).append(b"")
        return left

    patch.setattr(engine, "recover", wrong)


def _the_file_names_the_journal_that_is_written_over(patch: pytest.MonkeyPatch) -> None:
    real = Database.name_journal

    def name_journal(self: Database, mark: bytes) -> None:
        if mark:
            real(self, mark)

    patch.setattr(Database, "name_journal", name_journal)


@pytest.mark.parametrize(
    "fault",
    [
        _sqlite_does_not_sync,
        _sqlite_syncs_checkpoints_only,
        _a_commit_is_acknowledged_before_it_is_synced,
        _a_new_journal_is_not_synced,
        _a_half_is_written_over_before_it_is_in_the_file,
        _a_record_begins_where_the_last_one_ends,
        _the_last_record_is_left_out,
        _a_torn_record_counts,
        _the_number_is_written_after_what_it_counts,
        _the_number_is_written_before_what_it_counts,
        _the_journal_is_removed_before_it_is_in_the_file,
        _what_was_left_is_written_over_before_it_is_in_the_file,
        _the_file_names_the_journal_that_is_written_over,
    ],
)
def test_a_fault_is_found(fault: Break, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    outcomes = (play_one(Task(seed, PER_LIFE, folder)) for seed in range(20))
    [(task, text)] = next(outcome.failures for outcome in outcomes if outcome.failures)
    assert any(finding in text for finding in FINDINGS), text[:1000]
    assert command(task) == f"make powerloss IMAGES={task.images} SEED={task.seed}"
