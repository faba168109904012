"""Recovery: the commits that a dead process has left in its journal.

The store's file names its journal by the journal's mark for as long as the journal may have commits
that the file lacks. So there are two cases. A file that names a journal must have exactly that one
beside it, whole: its size never changes, so one that is shorter was cut. A file that names none was
closed in order, or was about to begin a journal: whatever is beside it has nothing that the file
lacks, unless the file was exchanged for an older copy.

Each refusal leaves the files as they are.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from understudy_store.engines.sqlite import journal_v1
from understudy_store.engines.sqlite.journal import BLOCK_BYTES, file_bytes, header_in, record_at
from understudy_store.errors import StoreFormatError

_WITHOUT: Final = (
    "To go on without its commits, move the journal away and start once with 'understudy "
    "broker --accept-lost-journal'"
)


def recover(
    path: Path, store: bytes, number: int, mark: bytes, *, accept_lost: bool = False
) -> list[bytes]:
    """Return the data of the records after `number`, in order.

    Parameters
    ----------
    path
        Of the journal.
    store
        The identity of the store.
    number
        Of the last commit that the store's file has.
    mark
        Of the journal that the store's file names; empty if it names none.
    accept_lost
        Go on without a journal that is named but is not there, or with what is left of one that was
        cut. What it had besides is lost.

    Raises
    ------
    StoreFormatError
        The journal is missing, was cut, is another one, or lacks a record.
    """
    with _content(path) as content:
        if content is None:
            if mark and not accept_lost:
                raise StoreFormatError(_missing(path))
            return []
        header = header_in(content)
        if header is None:
            if mark:
                raise StoreFormatError(
                    f"{path} is damaged, or is not the journal that belongs to the store. "
                    f"Put back the one that does. {_WITHOUT}"
                )
            found = journal_v1.records_in(content, store, path)
            return _consecutive(_later(found, number), number, path)
        if header.store != store:
            raise StoreFormatError(
                f"{path} is the journal of another store. Put back the one that belongs to the "
                "store, or move this one away if you can do without its commits"
            )
        if mark and len(content) < file_bytes() and not accept_lost:
            raise StoreFormatError(_cut(path, len(content)))
        found = _records(content, header.mark)
    later = _later(found, number)
    if header.mark != mark:
        if mark or later:
            raise StoreFormatError(
                f"{path} is of another time than the store beside it, because one of the two was "
                f"exchanged for a copy. Put back what belongs together. {_WITHOUT}"
            )
        return []
    return _consecutive(later, number, path)


def check_no_journal(path: Path, store: Path) -> None:
    """Refuse to make a `store` where the journal of another one is: its file went away.

    Raises
    ------
    StoreFormatError
    """
    with _content(path) as content:
        if content is not None and header_in(content) is not None:
            raise StoreFormatError(
                f"{store} is missing or empty, but its journal {path} is there, and may have calls "
                "that were acknowledged. Put the store's file back. To begin a new store, move the "
                "journal away, or name another path"
            )


def _later(found: dict[int, bytes], number: int) -> dict[int, bytes]:
    return {each: data for each, data in found.items() if each > number}


def _consecutive(found: dict[int, bytes], number: int, path: Path) -> list[bytes]:
    """Return the data of all records, which must be those that follow `number` without a gap."""
    wanted = range(number + 1, number + 1 + len(found))
    if found.keys() != set(wanted):
        missing = min(set(wanted) - found.keys())
        raise StoreFormatError(
            f"{path} is damaged, or the store beside it is older than it: commit {missing} is in "
            f"neither. Restore both from a copy. {_WITHOUT}"
        )
    return [found[each] for each in wanted]


def _records(content: mmap.mmap, mark: bytes) -> dict[int, bytes]:
    """Return every whole record by its number, however old."""
    found: dict[int, bytes] = {}
    at = BLOCK_BYTES
    while at < len(content):
        record = record_at(content, at, mark)
        if record is None:
            at += BLOCK_BYTES
        else:
            found[record.number] = record.data
            at += record.size
    return found


@contextmanager
def _content(path: Path) -> Iterator[mmap.mmap | None]:
    """Give the content of a file; None if it is not there or is empty."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        if not file.seek(0, 2):
            yield None
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


def _missing(path: Path) -> str:
    return (
        f"{path} is missing: the store was copied without its journal, as in a backup of a running "
        "broker, or the journal was removed. "
        "The store was not closed cleanly, so calls that were acknowledged may be in its journal "
        "alone. Put the journal back beside the store. If you can do without them, start once with "
        "'understudy broker --accept-lost-journal'"
    )


def _cut(path: Path, size: int) -> str:
    return (
        f"{path} was cut short, as by a copy to a full disk: it has {size:,} of "
        f"{file_bytes():,} bytes. The store was not closed cleanly, so calls that were "
        "acknowledged may be in the part that is missing. Copy the whole journal again. If you can "
        "do without what is missing, start once with 'understudy broker --accept-lost-journal'"
    )
