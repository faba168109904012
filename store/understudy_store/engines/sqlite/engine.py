"""The SQLite engine: one file, its journal, and the lock that keeps other processes away.

See the package for the theory of operation.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import MsgspecError
from msgspec.structs import replace

from understudy_store.changes import Changes, Snapshot
from understudy_store.commands import Reply
from understudy_store.engines.base import SOLE_EPOCH, Read, fenced
from understudy_store.engines.sqlite import journal
from understudy_store.engines.sqlite.database import Database, explained
from understudy_store.engines.sqlite.files import FileLock, FilesInPlace, check_ours, make_directory
from understudy_store.engines.sqlite.journal import Journal
from understudy_store.engines.sqlite.journal_records import decode
from understudy_store.engines.sqlite.journaled_table import JournaledTable
from understudy_store.engines.sqlite.memtable import Memtable
from understudy_store.errors import StoreError, StoreFormatError
from understudy_store.records import Row

#: for UPDATE ... FROM
_SQLITE_VERSION_MIN = (3, 33)
#: how often the engine checks that its files are where they were
FILES_CHECK_S: Final = 1.0


class SqliteEngine:
    """The engine over one file and its journal.

    Parameters
    ----------
    path
        Of the file. It is made, with its directory, if it does not exist.

    Raises
    ------
    StoreLockedError, StoreFormatError, StoreVersionError, StoreAccessError
        See their texts; the files are left as they were found.
    """

    def __init__(self, path: Path) -> None:
        if sqlite3.sqlite_version_info < _SQLITE_VERSION_MIN:
            raise StoreError(
                f"this Python has SQLite {sqlite3.sqlite_version}; a store needs "
                f"{'.'.join(map(str, _SQLITE_VERSION_MIN))} or newer: use a newer Python"
            )
        with explained(path):
            self._path = path = path.expanduser().resolve()
            exists = check_ours(path)
            if not exists:
                make_directory(path.parent)
            self._lock = FileLock(path)
        try:
            self._database = Database(path, exists)
            try:
                self._open()
            except BaseException:
                self._database.close()
                raise
        except BaseException:
            self._lock.release()
            raise

    def _open(self) -> None:
        path = Path(f"{self._path}.journal")
        database = self._database
        with explained(path):
            left = journal.recover(path, database.store, database.number)
            _replay(left, database, path)
            self._journal = Journal(path, database.store, database.number)
        beside = [
            self._path.with_name(self._path.name + more) for more in ("-wal", "-shm", ".lock")
        ]
        self._files = FilesInPlace([self._path, path, *beside])
        self._files_check_at = time.monotonic() + FILES_CHECK_S
        #: public for tests, which make it wait and look at its locks
        self.journaled = JournaledTable(self._journal, database, str(self._path), self._check_files)

    @property
    def description(self) -> str:
        return f"sqlite:///{self._path} (journal, wal, synchronous=full)"

    @property
    def inline(self) -> bool:
        return True

    def load(self) -> Snapshot:
        return self.journaled.load()

    def find(self, ids: Collection[str]) -> list[Row]:
        return self.journaled.find(ids)

    def commit(self, changes: Changes, reads: Sequence[Read], epoch: int) -> list[Reply]:
        if epoch != SOLE_EPOCH:
            raise fenced(epoch)
        return self.journaled.commit(changes, reads)

    def close(self) -> None:
        complete = self.journaled.close()
        if complete is None:
            return
        # Where the disk fails, the journal stays, and the next open reads it.
        if complete:
            with suppress(OSError):
                self._journal.path.unlink()
        self._journal.close()
        self._database.close()
        self._lock.release()

    def _check_files(self) -> None:
        """Look now and then whether the files are where they were."""
        now = time.monotonic()
        if now >= self._files_check_at:
            self._files_check_at = now + FILES_CHECK_S
            self._files.check()


def _replay(left: Sequence[bytes], database: Database, path: Path) -> None:
    """Write the commits that a dead process has left in its journal to the file."""
    memtable = Memtable()
    number = database.number
    try:
        for data in left:
            memtable.add(_completed(decode(data), memtable.rows))
            number += 1
        if memtable:
            database.write(memtable, number)
    except (MsgspecError, UnicodeDecodeError, StoreError) as error:
        raise StoreFormatError(
            f"the commits in {path} do not follow those in the store beside it: {error}. "
            "Restore both from a copy"
        ) from error


def _completed(changes: Changes, rows: Mapping[str, Row]) -> Changes:
    """Fill in the fields that updates in a journal leave out, where the file lacks the row."""
    return replace(changes, updated=[_over(row, rows) for row in changes.updated])


def _over(row: Row, rows: Mapping[str, Row]) -> Row:
    before = rows.get(row.promise.id)
    if before is None:
        return row
    new = row.promise
    promise = replace(before.promise, state=new.state, value=new.value, settled_at=new.settled_at)
    return Row(promise, row.task)
