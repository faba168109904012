"""The SQLite engine: one file, its journal, and the lock that keeps other processes away.

See the package for the theory of operation.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from msgspec import MsgspecError

from understudy_store.changes import Changes, Snapshot
from understudy_store.commands import Reply
from understudy_store.engines.base import OPENING, SOLE_EPOCH, Measures, Opening, Read, fenced
from understudy_store.engines.journaled.journaled_table import JournaledTable
from understudy_store.engines.journaled.replay import replayed
from understudy_store.engines.sqlite import facts
from understudy_store.engines.sqlite.database import Database, explained
from understudy_store.engines.sqlite.files import (
    FileLock,
    FilesInPlace,
    check_beside,
    check_directory,
    check_not_open_here,
    check_ours,
    open_file,
    readers_text,
    resolved,
)
from understudy_store.engines.sqlite.journal import Journal
from understudy_store.engines.sqlite.journal_recovery import check_no_journal, recover
from understudy_store.engines.sqlite.sizes import with_files
from understudy_store.errors import (
    StoreAccessError,
    StoreError,
    StoreFormatError,
    StoreGoneError,
)
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
    OpeningStoppedError
        As `opening` wishes.
    """

    def __init__(self, path: Path, opening: Opening = OPENING) -> None:
        if sqlite3.sqlite_version_info < _SQLITE_VERSION_MIN:
            raise StoreError(
                f"this Python has SQLite {sqlite3.sqlite_version}; a store needs "
                f"{'.'.join(map(str, _SQLITE_VERSION_MIN))} or newer: use a newer Python"
            )
        self._opening = opening
        self._closed = False
        with explained(path):
            self._path = path = resolved(path)
            check_not_open_here(path)
            exists = check_ours(path)
            if not exists:
                check_directory(path)
                check_no_journal(Path(f"{path}.journal"), path)
            self._lock = FileLock(path)
        try:
            with explained(path):
                if exists:
                    self._lock.hold_file()
            with explained(path):
                check_beside(path)
                if not exists:
                    # SQLite gives its other files the mode of this one.
                    os.close(open_file(path, os.O_RDWR | os.O_CREAT))
            self._database = Database(path, exists, opening)
            try:
                if not exists:
                    self._lock.hold_file()
                self._open()
                self._database.opened()
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
            left = recover(
                path,
                database.store,
                database.number,
                database.mark,
                accept_lost=self._opening.accept_lost_journal,
            )
            _replay(left, database, path)
            # The journal may be written over only while the file names none, and it counts only
            # once the file names it.
            if database.mark:
                database.name_journal(b"")
            self._journal = Journal(path, database.store, database.number)
            try:
                database.name_journal(self._journal.mark)
            except BaseException:
                self._journal.close()
                raise
        beside = [
            self._path.with_name(self._path.name + more) for more in ("-wal", "-shm", ".lock")
        ]
        if (text := readers_text(self._path)) is not None:
            self._opening.tell(text)
        self._files = FilesInPlace([self._path, path, *beside])
        self._files_check_at = time.monotonic() + FILES_CHECK_S
        #: public for tests, which make it wait and look at its locks
        self.journaled = JournaledTable(self._journal, database, str(self._path), self._check_files)

    @property
    def database(self) -> Database:
        """The table, for `slot_rows`, which moves rows between two of them."""
        return self._database

    @property
    def path(self) -> Path:
        """The file, through all symbolic links."""
        return self._path

    @property
    def description(self) -> str:
        return f"sqlite:///{self._path} (journal, wal, synchronous=full)"

    @property
    def inline(self) -> bool:
        return self.journaled.commits_at_once

    def load(self) -> Snapshot:
        return self.journaled.load()

    def fact(self, key: str) -> str | None:
        with self.journaled.between_writes(), self._database.transaction() as driver:
            return facts.get(driver, key)

    def put_fact(self, key: str, text: str) -> None:
        with self.journaled.between_writes(), self._database.transaction() as driver:
            facts.put(driver, key, text)

    def find(self, ids: Collection[str]) -> list[Row]:
        return self.journaled.find(ids)

    def commit(self, changes: Changes, reads: Sequence[Read], epoch: int) -> list[Reply]:
        if epoch != SOLE_EPOCH:
            raise fenced(epoch)
        return self.journaled.commit(changes, reads)

    def search(self, read: Read, time_limit_s: float) -> Reply:
        reply = self.journaled.searcher.search(read, time_limit_s)
        if reply.stats is not None:
            reply.stats = with_files(reply.stats, self._path)
        return reply

    def measures(self) -> Measures:
        path, sizes = self._path, {}
        for name, file in (
            ("file", path),
            ("wal", path.with_name(f"{path.name}-wal")),
            ("journal", path.with_name(f"{path.name}.journal")),
        ):
            with suppress(OSError):
                sizes[name] = file.stat().st_size
        free = None
        with suppress(OSError):
            free = shutil.disk_usage(path.parent).free
        return Measures(
            lag_s=self.journaled.view.lag_s(time.monotonic()),
            journal_bytes=sizes.pop("journal", None),
            store_bytes=sum(sizes.values()),
            free_bytes=free,
        )

    def watch(self, on_failure: Callable[[StoreError], None]) -> None:
        self.journaled.watch(on_failure)

    def stop_waiting(self) -> None:
        self._database.stop_waiting()

    def close(self) -> None:
        # A forked child has no part in its parent's store.
        if self._closed or not self._lock.held:
            return
        self._closed = True
        self.stop_waiting()
        with ExitStack() as stack:
            # Whatever fails here, also in a way that nobody expects, the lock is given back.
            stack.callback(self._lock.release)
            stack.callback(self._database.close)
            stack.callback(self._journal.close)
            complete = self.journaled.close()
            failure = self.journaled.failure
            # Where the disk fails, the journal stays, and the next open reads it. Where a file was
            # removed, the journal may be the one, and the file has everything.
            if complete and (failure is None or isinstance(failure, StoreGoneError)):
                with suppress(OSError, StoreError):
                    self._database.name_journal(b"")
                    if failure is None:
                        self._journal.path.unlink()

    def _check_files(self) -> None:
        """Look now and then whether the files are where they were."""
        now = time.monotonic()
        if now >= self._files_check_at:
            self._files_check_at = now + FILES_CHECK_S
            self._files.check()


def _replay(left: Sequence[bytes], database: Database, path: Path) -> None:
    """Write the commits that a dead process has left in its journal to the file."""
    try:
        if memtable := replayed(left):
            database.write(memtable, database.number + len(left))
    except StoreAccessError as error:
        raise StoreAccessError(
            f"the store {path.with_suffix('')} cannot be written: {error}. Make room on the disk, "
            "or see why it fails, then start again. Nothing is lost: what is to be written is in "
            f"{path.name}"
        ) from error
    except (MsgspecError, UnicodeDecodeError, StoreError) as error:
        raise StoreFormatError(
            f"the commits in {path} do not follow those in the store beside it: {error}. "
            "Restore both from a copy"
        ) from error
