"""A copy of a store's file, also while a broker has it open.

SQLite makes the copy in one step, as of one moment: the broker goes on, and what it writes
meanwhile waits in SQLite's log. What is only in the journal beside the file is not in the copy.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from understudy_store.engines.sqlite.database import explained
from understudy_store.engines.sqlite.files import (
    check_directory,
    check_not_open_here,
    check_ours,
    open_file,
    resolved,
    sync_directory,
)
from understudy_store.errors import StoreAccessError, StoreFormatError


def copy_store(path: Path, target: Path) -> Path:
    """Copy the file of a store, check the copy, and make it durable; return the copy's path.

    The copy is for its owner alone, and is there whole or not at all.

    Raises
    ------
    StoreAccessError
        There is no such store, the target exists already, or it cannot be written.
    StoreFormatError
        The file is no store, or the copy is not whole.
    """
    path, target = resolved(path), Path(os.path.abspath(target))  # noqa: PTH100 - follows no link
    check_not_open_here(path)
    if not check_ours(path):
        raise StoreAccessError(f"there is no store {path}: name the file of one")
    check_directory(target)
    if os.path.lexists(target):
        raise StoreAccessError(f"{target} exists already: name another file for the copy")
    part = target.with_name(f".{target.name}.{os.getpid()}")
    with explained(target):
        os.close(open_file(part, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    try:
        _copy(path, part)
        with explained(target):
            # A link and not a rename, which would replace a file that has come meanwhile.
            os.link(part, target)
            sync_directory(target.parent)
    finally:
        for more in ("", "-wal", "-shm", "-journal"):
            part.with_name(part.name + more).unlink(missing_ok=True)
    return target


def _copy(path: Path, part: Path) -> None:
    with closing(sqlite3.connect(part)) as copy:
        with explained(path), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as own:
            own.backup(copy)
        with explained(part):
            # In one file, which needs no other beside it.
            copy.execute("PRAGMA journal_mode = DELETE")
            [(said, *_), *_] = copy.execute("PRAGMA quick_check(1)").fetchall()
        if said != "ok":
            raise StoreFormatError(f"the store {path} is damaged, and so was its copy: {said}")
    with explained(part):
        fd = open_file(part, os.O_RDWR)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
