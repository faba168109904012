"""Looks for the lines of a call in the files of logs: the newest first, and no more than fits.

A file may be of any size, and is written to meanwhile. It is read backwards in pieces, up to a
bound; a page that is open only has what was added since read.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import trio

from understudy.ui.log_entries import Entry, Wanted

#: lines that are shown
LINES_MAX: Final = 500
#: characters of these lines together
CHARS_MAX: Final = 1_000_000
#: bytes of all files together that one look reads
BYTES_MAX: Final = 64 * 1024 * 1024
#: files that were put away, as PATH.1, PATH.2 and so on, which are read as well
PUT_AWAY_MAX: Final = 9
#: looks that are remembered, so that a page which follows reads only what is new
_REMEMBERED_MAX: Final = 16
_PIECE_BYTES: Final = 1024 * 1024
#: beyond it, what has no end is no line of a log
_LINE_BYTES_MAX: Final = 1024 * 1024


class Found(NamedTuple):
    """The lines of a call, the oldest first.

    Attributes
    ----------
    is_whole
        False: there may be older ones.
    problems
        Why a file could not be read.
    """

    entries: tuple[Entry, ...] = ()
    is_whole: bool = True
    problems: tuple[str, ...] = ()


class _Place(NamedTuple):
    """The end of the part of a file that was read."""

    inode: int
    end: int


class _Look(NamedTuple):
    found: Found
    #: of each file that is written to; None: it is not there
    places: dict[Path, _Place | None]


class LogFiles:
    """The files of the logs.

    Parameters
    ----------
    paths
        Files of JSON lines; they need not be there yet.
    """

    def __init__(self, paths: Sequence[Path] = ()) -> None:
        self.paths = tuple(paths)
        self._looks: OrderedDict[Wanted, _Look] = OrderedDict()
        # One look at a time, so that many open pages do not keep all processors busy.
        self._limiter = trio.CapacityLimiter(1)

    async def search(self, wanted: Wanted) -> Found:
        """Return the newest lines that are wanted; the files are read in a thread."""
        return await trio.to_thread.run_sync(self.look, wanted, limiter=self._limiter)

    def look(self, wanted: Wanted) -> Found:
        """Return the newest lines that are wanted."""
        known = self._looks.get(wanted)
        look = None if known is None else self._more(wanted, known)
        if look is None:
            look = self._all(wanted)
        self._looks[wanted] = look
        self._looks.move_to_end(wanted)
        while len(self._looks) > _REMEMBERED_MAX:
            self._looks.popitem(last=False)
        return look.found

    def _all(self, wanted: Wanted) -> _Look:
        entries: list[Entry] = []
        problems: list[str] = []
        places: dict[Path, _Place | None] = dict.fromkeys(self.paths)
        is_whole = True
        for path in self.paths:
            left = BYTES_MAX // len(self.paths)
            for file_path in _with_put_away(path):
                try:
                    with file_path.open("rb") as file:
                        place = _place(file)
                        start = max(0, place.end - left)
                        lines = _backwards(file, start, place.end, wanted.marks)
                        count, is_rest_read = _take(wanted, lines, entries)
                except OSError as error:
                    problems.append(f"{file_path}: {error.strerror}")
                    continue
                if file_path == path:
                    places[path] = place
                left -= place.end - start
                is_whole = is_whole and is_rest_read and start == 0
                if count >= LINES_MAX or left <= 0:
                    is_whole = False
                    break
        return _Look(_found(entries, problems, is_whole=is_whole), places)

    def _more(self, wanted: Wanted, known: _Look) -> _Look | None:
        """Return what is known with what was added; None: the files are others by now."""
        entries = list(known.found.entries)
        places: dict[Path, _Place | None] = {}
        for path, before in known.places.items():
            try:
                with path.open("rb") as file:
                    place = _place(file)
                    if before is None or place.inode != before.inode:
                        return None
                    if not 0 <= place.end - before.end <= BYTES_MAX:
                        return None
                    _take(wanted, _backwards(file, before.end, place.end, wanted.marks), entries)
            except OSError:
                if before is not None:
                    return None
                places[path] = None
            else:
                places[path] = place
        return _Look(_found(entries, known.found.problems, is_whole=known.found.is_whole), places)


def _with_put_away(path: Path) -> Iterator[Path]:
    yield path
    for number in range(1, PUT_AWAY_MAX + 1):
        older = path.with_name(f"{path.name}.{number}")
        if not older.exists():
            return
        yield older


def _place(file: BinaryIO) -> _Place:
    """Return the end of the last whole line, behind which one may just be written."""
    state = os.fstat(file.fileno())
    end = state.st_size
    while end > 0:
        start = max(0, end - _PIECE_BYTES)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return _Place(state.st_ino, start + newline + 1)
        end = start
    return _Place(state.st_ino, 0)


def _backwards(file: BinaryIO, start: int, end: int, marks: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the lines between two places that have one of the marks, the last one first.

    A line that begins before `start` is yielded without its beginning, and so is no JSON.
    """
    rest = b""
    while end > start:
        size = min(_PIECE_BYTES, end - start)
        end -= size
        file.seek(end)
        first, newline, body = (file.read(size) + rest).partition(b"\n")
        if end == start:
            first, body = b"", first + newline + body
        if any(mark in body for mark in marks):
            for line in reversed(body.split(b"\n")):
                if any(mark in line for mark in marks):
                    yield line
        rest = first + newline if len(first) < _LINE_BYTES_MAX else b""


def _take(wanted: Wanted, lines: Iterator[bytes], entries: list[Entry]) -> tuple[int, bool]:
    """Add lines that are wanted; return how many, and whether those were all."""
    count = 0
    for line in lines:
        entry = wanted.entry(line)
        if entry is None:
            continue
        if count >= LINES_MAX:
            return count, False
        entries.append(entry)
        count += 1
    return count, True


def _found(entries: Sequence[Entry], problems: Sequence[str], *, is_whole: bool) -> Found:
    """Return the newest entries, as many as a page has room for, the oldest first."""
    newest: list[Entry] = []
    room = CHARS_MAX
    for entry in sorted(entries, key=lambda each: each.at, reverse=True):
        room -= entry.chars
        if len(newest) >= LINES_MAX or room < 0:
            is_whole = False
            break
        newest.append(entry)
    return Found(tuple(reversed(newest)), is_whole, tuple(problems))
