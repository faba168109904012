"""A recorder: the operations of SQLite on the files of a store, as a list of events.

It is a VFS (SQLite's own interface to the operating system) in front of the one that this Python
uses. The original VFS opens every file; then the file's table of methods is replaced by a copy
whose writing methods note the operation and call the original. So the events are the operations
that reach the operating system, in their order. This needs no compiler, and no library but the one
that `sqlite3` itself uses.

The index of the WAL in shared memory (``-shm``) is not recorded, because SQLite rebuilds it after a
loss of power, whatever it contains. `Calls` records the operations of our own code.
"""

from __future__ import annotations

import _sqlite3
import ctypes as c
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from tests.powerloss.calls import Calls
from tests.powerloss.events import Create, Delete, Event, Sync, SyncDirectory, Truncate, Write

_MAIN_DB, _MAIN_JOURNAL, _WAL = 0x100, 0x800, 0x80000

_File: TypeAlias = c.c_void_p
_XWRITE = c.CFUNCTYPE(c.c_int, _File, c.c_void_p, c.c_int, c.c_int64)
_XTRUNCATE = c.CFUNCTYPE(c.c_int, _File, c.c_int64)
_XSYNC = c.CFUNCTYPE(c.c_int, _File, c.c_int)
_XCLOSE = c.CFUNCTYPE(c.c_int, _File)
#: The name is passed as an address because the original keeps it and reads the bytes after it.
_XOPEN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, _File, c.c_int, c.POINTER(c.c_int))
_XDELETE = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_char_p, c.c_int)
_OPEN_DIRECTORY = c.CFUNCTYPE(c.c_int, c.c_char_p, c.POINTER(c.c_int))
_SET_CALL = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_char_p, c.c_void_p)
_GET_CALL = c.CFUNCTYPE(c.c_void_p, c.c_void_p, c.c_char_p)


class _Methods(c.Structure):
    """sqlite3_io_methods"""

    _fields_ = (
        ("iVersion", c.c_int),
        ("xClose", _XCLOSE),
        ("xRead", c.c_void_p),
        ("xWrite", _XWRITE),
        ("xTruncate", _XTRUNCATE),
        ("xSync", _XSYNC),
        ("others", c.c_void_p * 13),
    )


class _Vfs(c.Structure):
    """sqlite3_vfs"""

    _fields_ = (
        ("iVersion", c.c_int),
        ("szOsFile", c.c_int),
        ("mxPathname", c.c_int),
        ("pNext", c.c_void_p),
        ("zName", c.c_char_p),
        ("pAppData", c.c_void_p),
        ("xOpen", _XOPEN),
        ("xDelete", _XDELETE),
        ("others", c.c_void_p * 11),
        ("xSetSystemCall", _SET_CALL),
        ("xGetSystemCall", _GET_CALL),
        ("xNextSystemCall", c.c_void_p),
    )


def _library() -> c.CDLL:
    """Return the SQLite library that `sqlite3` uses: a shared one, or part of the interpreter.

    Raises
    ------
    OSError
        The library does not export its functions.
    """
    for name in (getattr(_sqlite3, "__file__", None), None):
        library = c.CDLL(name)
        if hasattr(library, "sqlite3_vfs_register"):
            library.sqlite3_vfs_find.restype = c.POINTER(_Vfs)
            return library
    raise OSError("this Python's SQLite does not export sqlite3_vfs_register")


class Recorder:
    """Record into `log` the operations on the files of `folder`, within `recording`."""

    def __init__(self, folder: Path) -> None:
        self.log: list[Event] = []
        #: Exceptions of callbacks, kept here because they cannot pass through SQLite.
        self.errors: list[BaseException] = []
        self._folder = folder.resolve()
        self._library = _library()
        self._original = self._library.sqlite3_vfs_find(None)
        #: Names of open files, by address.
        self._names: dict[int, str] = {}
        #: Our table of methods and the original one, by the address of the original.
        self._tables: dict[int, tuple[_Methods, _Methods]] = {}
        self._methods: dict[int, _Methods] = {}
        #: The file that is being synced, until its sync is noted.
        self._syncing: str | None = None
        self._vfs = vfs = _Vfs.from_buffer_copy(self._original.contents)
        vfs.pNext = None
        vfs.zName = b"understudy-recorder"
        vfs.xOpen = _XOPEN(self._open)
        vfs.xDelete = _XDELETE(self._delete)
        self._open_directory = _OPEN_DIRECTORY(self._directory)
        self._original_open_directory: Callable[..., int] = lambda *_: 1

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record everything that is opened within; it must also be closed within."""
        original = self._original.contents
        address = original.xGetSystemCall(self._original, b"openDirectory")
        self._original_open_directory = _OPEN_DIRECTORY(address)
        original.xSetSystemCall(
            self._original, b"openDirectory", c.cast(self._open_directory, c.c_void_p)
        )
        self._library.sqlite3_vfs_register(c.byref(self._vfs), 1)
        try:
            with Calls(self._folder, self._note).watched():
                yield
        finally:
            self._library.sqlite3_vfs_unregister(c.byref(self._vfs))
            original.xSetSystemCall(self._original, b"openDirectory", None)
        if self.errors:
            raise self.errors[0]
        assert not self._names, f"still open: {self._names}"

    def _note(self, event: Event) -> None:
        self.log.append(event)

    # ---- callbacks of SQLite --------------------------------------------------------------------

    def _directory(self, name: bytes, fd: Any) -> int:
        """Note the sync of a directory, which is the only reason why SQLite opens one.

        `name` is that of a file in the directory.
        """
        code = self._original_open_directory(name, fd)
        if code == 0 and Path(os.fsdecode(name)).parent == self._folder:
            self._note_sync()
            self._note(SyncDirectory())
        return code

    def _open(self, _vfs: int, name: int | None, file: int, flags: int, out: Any) -> int:
        path = None if name is None else Path(os.fsdecode(c.string_at(name)))
        existed = path is not None and path.exists()
        code = int(self._original.contents.xOpen(self._original, name, file, flags, out))
        if code or path is None or not flags & (_MAIN_DB | _MAIN_JOURNAL | _WAL):
            return code
        if path.parent != self._folder:
            return code
        try:
            if not existed:
                self._note(Create(path.name))
            self._names[file] = path.name
            self._methods[file] = self._exchange(file)
        except BaseException as error:
            self.errors.append(error)
        return code

    def _exchange(self, file: int) -> _Methods:
        """Give an open file our table of methods; return the original one."""
        slot = c.cast(file, c.POINTER(c.c_void_p))
        address = slot[0]
        assert address
        if address not in self._tables:
            original = _Methods.from_address(address)
            ours = _Methods.from_buffer_copy(original)
            ours.xClose = _XCLOSE(self._close)
            ours.xWrite = _XWRITE(self._write)
            ours.xTruncate = _XTRUNCATE(self._truncate)
            ours.xSync = _XSYNC(self._sync)
            self._tables[address] = ours, original
        ours, original = self._tables[address]
        slot[0] = c.addressof(ours)
        return original

    def _close(self, file: int) -> int:
        self._names.pop(file)
        return int(self._methods.pop(file).xClose(file))

    def _write(self, file: int, buffer: int, size: int, offset: int) -> int:
        code = int(self._methods[file].xWrite(file, buffer, size, offset))
        if code == 0:
            self._note(Write(self._names[file], offset, c.string_at(buffer, size)))
        return code

    def _truncate(self, file: int, size: int) -> int:
        code = int(self._methods[file].xTruncate(file, size))
        if code == 0:
            self._note(Truncate(self._names[file], size))
        return code

    def _sync(self, file: int, flags: int) -> int:
        """Sync the file; if it is new, SQLite then syncs its directory (see `_directory`)."""
        self._syncing = self._names[file]
        code = int(self._methods[file].xSync(file, flags))
        if code == 0:
            self._note_sync()
        self._syncing = None
        return code

    def _note_sync(self) -> None:
        if self._syncing is not None:
            self._note(Sync(self._syncing))
        self._syncing = None

    def _delete(self, _vfs: int, name: bytes, sync: int) -> int:
        path = Path(os.fsdecode(name))
        existed = path.exists()
        code = int(self._original.contents.xDelete(self._original, name, sync))
        if code == 0 and existed and path.parent == self._folder:
            self._note(Delete(path.name))
        return code
