"""Journals: the sizes of their parts, their records, and what a store's file holds beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import pack
from typing import Final
from zlib import crc32

import pytest

from understudy_store.engines.sqlite import journal
from understudy_store.engines.sqlite.journal import BLOCK_BYTES, Journal
from understudy_store.engines.sqlite.journal_recovery import recover

STORE: Final = b"store-01"
HEAD_BYTES: Final = 36
#: the word at the beginning of each further block of a record
MORE_BYTES: Final = 4
SECTOR_BYTES: Final = 512
#: in a half
BLOCKS: Final = 8


def recovered(made: Journal, number: int) -> list[bytes]:
    """What a process finds whose file has the commits up to `number` and names this journal."""
    return recover(made.path, STORE, number, made.mark)


def data_of(number: int, size: int) -> bytes:
    """So many bytes, which no other record has."""
    return (f"{number}:".encode() * size)[:size]


def first_format(store: bytes, number: int, data: bytes) -> bytes:
    """A record as the first format has it, with its blocks."""
    unsealed = pack("<4s8sQI", b"usj1", store, number, len(data))
    record = unsealed + pack("<I", crc32(data, crc32(unsealed))) + data
    return record + bytes(-len(record) % BLOCK_BYTES)


class Life:
    """A journal and, beside it, what a store's file would hold of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: all data by number, but of those that were skipped
        self.written: dict[int, bytes] = {}
        #: the last number that is in the file, and what is there at the next change of halves
        self.held = self.sealed = 0
        self.journal = Journal(path, STORE, 0)
        self.half_bytes = journal.HALF_BYTES

    def check(self) -> None:
        with self.of_this_size():
            for held in range(self.held, self.journal.number + 1):
                assert recovered(self.journal, held) == self.after(held, self.journal.number)

    @contextmanager
    def of_this_size(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(journal, "HALF_BYTES", self.half_bytes)
            yield

    def after(self, held: int, last: int) -> list[bytes]:
        return [data for number, data in self.written.items() if held < number <= last]

    def append(self, size: int) -> None:
        self.put(data_of(self.journal.number + 1, size))

    def put(self, data: bytes) -> None:
        if not self.journal.fits(data):
            self.change()
        self.journal.append(data)
        self.written[self.journal.number] = data

    def change(self) -> None:
        """What the other half holds is in the file; from now on it is written over."""
        self.held, self.sealed = self.sealed, self.journal.number
        self.journal.switch()

    def skip(self) -> None:
        self.journal.skip()
        self.held = self.sealed = self.journal.number

    def reopen(self, blocks: int) -> None:
        """A process has died, and the next one has another idea of how long a half is."""
        self.journal.close()
        self.held = self.sealed = self.journal.number
        self.half_bytes = blocks * BLOCK_BYTES
        with self.of_this_size():
            self.journal = Journal(self.path, STORE, self.held)
        assert self.path.stat().st_size == (1 + 2 * blocks) * BLOCK_BYTES
