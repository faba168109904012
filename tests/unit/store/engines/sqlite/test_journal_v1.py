"""A journal of the first format, which an earlier version left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.store.engines.sqlite.journals import BLOCKS, STORE, data_of, first_format
from understudy_store.engines.sqlite.journal import BLOCK_BYTES
from understudy_store.engines.sqlite.journal_recovery import recover
from understudy_store.errors import StoreFormatError

pytestmark = pytest.mark.usefixtures("small_halves")


def _first_journal(path: Path, *halves: bytes) -> None:
    path.write_bytes(b"".join(half.ljust(BLOCKS * BLOCK_BYTES, b"\0") for half in halves))


def test_a_journal_of_the_first_format_is_recovered(path: Path) -> None:
    """An earlier version was killed; its file names no journal."""
    old = [first_format(STORE, number, data_of(number, 5_000)) for number in range(1, 6)]
    _first_journal(path, old[3] + old[4] + old[1], old[1] + old[2])
    assert recover(path, STORE, 1, b"") == [data_of(number, 5_000) for number in range(2, 6)]
    assert recover(path, STORE, 5, b"") == []
    _first_journal(path, old[4], old[1] + old[2])
    with pytest.raises(StoreFormatError, match="commit 4 is in neither"):
        recover(path, STORE, 1, b"")
    _first_journal(path, b"", first_format(b"foreign1", 1, b""))
    with pytest.raises(StoreFormatError, match="journal of another store"):
        recover(path, STORE, 5, b"")


def test_a_payload_in_a_journal_of_the_first_format_is_not_taken_for_one_of_another_store(
    path: Path,
) -> None:
    head = first_format(b"foreign1", 1, b"")[:28]
    for pad in range(4):
        left = (bytes(BLOCK_BYTES) + bytes(pad) + head * 1000)[: 4 * BLOCK_BYTES]
        _first_journal(path, first_format(STORE, 7, b"seven") + left, b"")
        assert recover(path, STORE, 6, b"") == [b"seven"]
