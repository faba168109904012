"""The journal's operations on its file, recorded as events by patching functions of `os`.

The code under test does not know that it is watched, and every call is recorded as the operating
system receives it. The flags of the open file (``O_DSYNC``), not the code that wrote, decide
whether a write is durable when it returns.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from tests.powerloss.events import (
    Create,
    Delete,
    Event,
    Sync,
    SyncDirectory,
    SyncWrite,
    Truncate,
    Write,
)

_WATCHED = ("open", "ftruncate", "pwrite", "pwritev", "fsync", "unlink")


class Calls:
    """Report to `note` each operation of our own code on `folder` and on the journals in it.

    If two threads call at the same time, the recorded order is one that could have happened: a
    write is noted before the call, because it may reach the disk from then on, and a sync after
    the call, because only then is it certain.
    """

    def __init__(self, folder: Path, note: Callable[[Event], None]) -> None:
        self._folder = folder.resolve()
        self._note = note
        #: Names of the open journals, by file descriptor.
        self._names: dict[int, str] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Record the operations on all files that are opened within this context."""
        with ExitStack() as stack:
            for name in _WATCHED:
                ours = partial(getattr(self, f"_{name}"), getattr(os, name))
                stack.enter_context(mock.patch.object(os, name, ours))
            yield

    def _name_of(self, path: Any) -> str | None:
        """Return the name if `path` is a journal; None for all other files.

        The lock file is left out because its content matters only while its process lives.
        """
        if isinstance(path, int):
            return None
        found = Path(os.fsdecode(path))
        return found.name if found.parent == self._folder and found.suffix == ".journal" else None

    def _is_ours(self, path: Any) -> bool:
        """Return whether a path is that of the journal, or of the store, which is made first."""
        if isinstance(path, int):
            return False
        found = Path(os.fsdecode(path))
        return found.parent == self._folder and found.suffix in (".journal", ".db")

    def _open(self, original: Callable[..., int], path: Any, flags: int, *more: Any) -> int:
        name = self._name_of(path)
        existed = not self._is_ours(path) or Path(path).exists()
        fd = original(path, flags, *more)
        if not existed:
            self._note(Create(Path(path).name))
        self._names.pop(fd, None)
        if name is not None:
            self._names[fd] = name
        return fd

    def _ftruncate(self, original: Callable[..., None], fd: int, size: int) -> None:
        if name := self._names.get(fd):
            self._note(Truncate(name, size))
        original(fd, size)

    def _pwrite(
        self, original: Callable[..., int], fd: int, data: bytes | memoryview, offset: int
    ) -> int:
        self._begin(fd, bytes(data), offset)
        return self._end(fd, original(fd, data, offset), len(data))

    def _pwritev(
        self, original: Callable[..., int], fd: int, parts: list[memoryview], offset: int
    ) -> int:
        data = b"".join(parts)
        self._begin(fd, data, offset)
        return self._end(fd, original(fd, parts, offset), len(data))

    def _begin(self, fd: int, data: bytes, offset: int) -> None:
        if name := self._names.get(fd):
            self._note(Write(name, offset, data))

    def _end(self, fd: int, written: int, size: int) -> int:
        if name := self._names.get(fd):
            assert written == size, "the real disk is full"
            if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DSYNC:
                self._note(SyncWrite(name))
        return written

    def _fsync(self, original: Callable[[int], None], fd: int) -> None:
        original(fd)
        if name := self._names.get(fd):
            self._note(Sync(name))
        elif os.path.samestat(os.fstat(fd), self._folder.stat()):
            self._note(SyncDirectory())

    def _unlink(self, original: Callable[..., None], path: Any, **more: Any) -> None:
        name = self._name_of(path)
        if name is not None and Path(path).exists():
            self._note(Delete(name))
        original(path, **more)
