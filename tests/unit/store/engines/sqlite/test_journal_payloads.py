"""Payloads of somebody who knows everything: whatever they hold, none is taken for a record."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.store.engines.sqlite.journals import (
    BLOCKS,
    HEAD_BYTES,
    MORE_BYTES,
    SECTOR_BYTES,
    Life,
    first_format,
    recovered,
)
from understudy_store.engines.sqlite import journal
from understudy_store.engines.sqlite.journal import BLOCK_BYTES, Journal, data_bytes_max

pytestmark = pytest.mark.usefixtures("small_halves")


class _Forger:
    """Payloads made of what a journal is made of, by somebody who can read the journal."""

    def __init__(self, made: Journal) -> None:
        self._journal = made

    def payload(self, draw: st.DataObject) -> bytes:
        """Some pieces, at any distance from the beginning of a block."""
        size = draw.draw(st.integers(0, data_bytes_max()), "size")
        pad = draw.draw(st.integers(0, HEAD_BYTES + MORE_BYTES), "pad")
        piece = draw.draw(st.sampled_from(["block", "record", "foreign", "first format"]), "piece")
        match piece:
            case "block":
                content = self._journal.path.read_bytes()
                at = BLOCK_BYTES * draw.draw(st.integers(0, 2 * BLOCKS), "block")
                inner = content[at : at + BLOCK_BYTES]
            case "record":
                ahead = draw.draw(st.integers(-1, 3), "ahead")
                place = BLOCK_BYTES * draw.draw(st.integers(1, 2 * BLOCKS), "place")
                number = self._journal.number + ahead
                inner = journal._head(self._journal.mark, place, max(0, number), b"")
            case "foreign":
                inner = journal._head(b"foreign1", BLOCK_BYTES, 1, b"")
            case _:
                inner = first_format(b"foreign1", 1, b"")[:28]
        return (bytes(pad) + inner * (size // len(inner) + 1))[:size]


def test_what_a_record_holds_is_not_looked_at(opened: Journal, path: Path) -> None:
    """As it may be a copy of a journal."""
    opened.append(b"a")
    inner = path.read_bytes()[BLOCK_BYTES : 2 * BLOCK_BYTES]
    held = [bytes(pad) + inner * 2 for pad in (BLOCK_BYTES - HEAD_BYTES, BLOCK_BYTES)]
    for data in held:
        opened.append(data)
    assert recovered(opened, 1) == held


def test_what_an_older_record_left_is_none_whatever_it_holds(opened: Journal) -> None:
    """A payload has heads of later records, each for its place and as early in a block as it can.

    A short record is written over the beginning of the long one, whose other blocks then stand
    where records may begin.
    """
    forged = [
        journal._head(opened.mark, (1 + block) * BLOCK_BYTES, 3 + block, b"")
        for block in range(1, journal.RECORD_BYTES_MAX // BLOCK_BYTES)
    ]
    further = b"".join(head.ljust(journal._MORE_BYTES, b"\0") for head in forged)
    opened.append(bytes(journal._FIRST_BYTES) + further)
    opened.switch()
    opened.append(b"two")
    opened.switch()
    opened.append(b"three")
    assert forged[0] in opened.path.read_bytes(), "it is still in the file"
    assert recovered(opened, 1) == [b"two", b"three"]


@given(draw=st.data())
@settings(max_examples=80, deadline=None)
def test_whatever_payloads_are_and_wherever_it_is_cut_short_all_acknowledged_is_recovered(
    draw: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The last write is cut short: any of its sectors may have reached the disk, in any order."""
    path = tmp_path_factory.mktemp("forged") / "x.db.journal"
    life = Life(path)
    forger = _Forger(life.journal)
    for _ in range(draw.draw(st.integers(1, 12), "commits")):
        life.put(forger.payload(draw))
    before = path.read_bytes()
    life.put(forger.payload(draw))
    after = path.read_bytes()
    life.journal.close()
    changed = [
        at
        for at in range(0, len(after), SECTOR_BYTES)
        if before[at : at + SECTOR_BYTES] != after[at : at + SECTOR_BYTES]
    ]
    if draw.draw(st.booleans(), "in order"):
        kept = set(changed[: draw.draw(st.integers(0, len(changed)), "sectors")])
    else:
        kept = {at for at in changed if draw.draw(st.booleans())}
    torn = bytearray(before)
    for at in kept:
        torn[at : at + SECTOR_BYTES] = after[at : at + SECTOR_BYTES]
    path.write_bytes(torn)
    last = life.journal.number
    for held in range(life.held, last + 1):
        found = recovered(life.journal, held)
        acknowledged = life.after(held, last - 1)
        whole = life.after(held, last)
        assert found == whole or (found == acknowledged and kept != set(changed))
    path.unlink()
