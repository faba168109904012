"""The journal's format: what was appended is recovered, and nothing else."""

from __future__ import annotations

import fcntl
import os
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.store.engines.sqlite.journals import (
    BLOCKS,
    HEAD_BYTES,
    MORE_BYTES,
    SECTOR_BYTES,
    STORE,
    Life,
    data_of,
    recovered,
)
from understudy_store.engines.sqlite import journal
from understudy_store.engines.sqlite.journal import BLOCK_BYTES, Journal, data_bytes_max
from understudy_store.engines.sqlite.journal_recovery import recover
from understudy_store.errors import StoreFormatError

pytestmark = pytest.mark.usefixtures("small_halves")
_numbers = count()


def _filling(blocks: int) -> bytes:
    """What fills so many blocks to the last byte."""
    return bytes(blocks * BLOCK_BYTES - HEAD_BYTES - (blocks - 1) * MORE_BYTES)


def test_a_new_one_holds_nothing(opened: Journal, path: Path) -> None:
    assert recovered(opened, 0) == []
    assert path.stat().st_size == (1 + 2 * BLOCKS) * BLOCK_BYTES
    assert opened.number == 0


def test_none_holds_nothing(path: Path) -> None:
    assert recover(path, STORE, 7, b"") == []


def test_each_record_begins_at_a_block_and_the_file_does_not_grow(
    opened: Journal, path: Path
) -> None:
    """Else a write that is cut short harms a record that was acknowledged."""
    size = path.stat().st_size
    held = [b"", _filling(1), _filling(1) + b"x", b"y"]
    for data in held:
        opened.append(data)
    content = path.read_bytes()
    starts = [at for at in range(0, len(content), SECTOR_BYTES) if content.startswith(b"usj2", at)]
    assert starts == [block * BLOCK_BYTES for block in (1, 2, 3, 5)]
    assert len(content) == size
    assert recovered(opened, 0) == held
    assert opened.number == 4


def test_a_write_is_durable_when_it_returns(opened: Journal) -> None:
    flags = fcntl.fcntl(opened._fd, fcntl.F_GETFL)
    assert flags & os.O_DSYNC == os.O_DSYNC


def test_where_there_are_no_direct_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = os.open

    def refusing(where: Any, flags: int, *more: Any) -> int:
        asked.append(flags)
        if flags & journal._DIRECT:
            raise OSError("no such thing here")
        return real(where, flags, *more)

    monkeypatch.setattr(journal, "_DIRECT", os.O_NONBLOCK)
    monkeypatch.setattr(os, "open", refusing)
    made = Journal(path, STORE, 0)
    made.append(b"a")
    made.close()
    assert any(flags & os.O_NONBLOCK for flags in asked)
    assert asked[-1] & os.O_DSYNC == os.O_DSYNC
    assert recovered(made, 0) == [b"a"]


def test_a_short_write_is_an_error(opened: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwritev", lambda fd, parts, at: SECTOR_BYTES)
    with pytest.raises(OSError, match="only 512 of 4096"):
        opened.append(b"a")
    assert opened.number == 0


def test_fits_to_the_last_block(opened: Journal) -> None:
    for _ in range(BLOCKS - 2):
        opened.append(b"")
    assert opened.fits(_filling(2))
    assert not opened.fits(_filling(2) + b"x")
    opened.append(_filling(1))
    assert opened.fits(_filling(1))
    assert not opened.fits(_filling(1) + b"x")
    opened.append(_filling(1))
    assert not opened.fits(b"")
    opened.switch()
    assert opened.fits(bytes(data_bytes_max()))
    opened.append(bytes(data_bytes_max()))


def test_halves_change_places(opened: Journal, path: Path) -> None:
    opened.append(b"first")
    opened.switch()
    opened.append(b"second")
    assert recovered(opened, 0) == [b"first", b"second"]
    opened.switch()
    opened.append(b"third")
    assert path.read_bytes()[BLOCK_BYTES + HEAD_BYTES :].startswith(b"third")
    assert recovered(opened, 1) == [b"second", b"third"]
    # what held the first has been written over
    with pytest.raises(StoreFormatError, match="commit 1 is in neither"):
        recovered(opened, 0)


def test_a_number_that_is_skipped_is_not_missed(opened: Journal, path: Path) -> None:
    opened.append(b"first")
    before = path.read_bytes()
    opened.skip()
    assert path.read_bytes() == before
    opened.append(b"third")
    assert opened.number == 3
    assert recovered(opened, 2) == [b"third"]
    with pytest.raises(StoreFormatError, match="commit 2 is in neither"):
        recovered(opened, 0)


@pytest.mark.parametrize("cut", range(0, 3 * BLOCK_BYTES, SECTOR_BYTES))
def test_a_record_that_is_cut_short_is_none(cut: int, opened: Journal, path: Path) -> None:
    """Over what an earlier round left, as on every day but the first."""
    for number in range(1, 2 * BLOCKS + 1):
        opened.append(data_of(number, 100))
        if number % BLOCKS == 0:
            opened.switch()
    opened.append(data_of(17, 100))
    before = path.read_bytes()
    opened.append(data_of(18, 2 * BLOCK_BYTES + 1))
    end = 2 * BLOCK_BYTES + cut
    path.write_bytes(path.read_bytes()[:end] + before[end:])
    whole = cut > 2 * BLOCK_BYTES + HEAD_BYTES
    expected = [data_of(17, 100), *([data_of(18, 2 * BLOCK_BYTES + 1)] if whole else [])]
    assert recovered(opened, 16) == expected
    # the next process writes from the beginning, and may be cut short likewise
    held = 16 + len(expected)
    again = Journal(path, STORE, held)
    assert recovered(again, held) == []
    again.append(b"after that")
    again.close()
    assert recovered(again, held) == [b"after that"]


@given(place=st.integers(0, HEAD_BYTES + 2_000 - 1), flipped=st.integers(1, 255))
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_garbled_record_does_not_count(tmp_path: Path, place: int, flipped: int) -> None:
    path = tmp_path / "garbled"
    made = Journal(path, STORE, 0)
    for number in (1, 2, 3):
        made.append(data_of(number, 2_000))
    made.close()
    whole = path.read_bytes()
    for block in (2, 3):
        at = block * BLOCK_BYTES + place
        path.write_bytes(whole[:at] + bytes([whole[at] ^ flipped]) + whole[at + 1 :])
        if block == 3:  # the last: nobody was told of it
            assert recovered(made, 0) == [data_of(1, 2_000), data_of(2, 2_000)]
        else:
            with pytest.raises(StoreFormatError, match="commit 2 is in neither"):
                recovered(made, 0)
        assert recovered(made, 3) == []


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, 17 * BLOCK_BYTES, 99 * BLOCK_BYTES])
@given(seed=st.binary(min_size=1, max_size=64), headed=st.sampled_from([b"", b"usj1", b"usj2"]))
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_garbage_in_its_place_is_written_over(
    tmp_path: Path, size: int, seed: bytes, headed: bytes
) -> None:
    path = tmp_path / "garbage"
    # the last two: all but the sum is right, and most lengths lead out of the file
    block = (headed + STORE + seed if headed else seed) * BLOCK_BYTES
    path.write_bytes((block[:BLOCK_BYTES] * (size // BLOCK_BYTES + 1))[:size])
    assert recover(path, STORE, 0, b"") == []
    made = Journal(path, STORE, 4)
    made.append(b"five")
    made.append(b"six")
    made.close()
    assert recovered(made, 4) == [b"five", b"six"]
    assert path.stat().st_size == (1 + 2 * BLOCKS) * BLOCK_BYTES


def test_a_record_of_another_journal_or_place_is_none(opened: Journal, path: Path) -> None:
    """Such as an earlier process, or a program that moves blocks, has left in the file."""
    opened.append(b"one")
    content = bytearray(path.read_bytes())
    free = 3 * BLOCK_BYTES
    foreign = journal._head(b"another1", free, 2, b"")
    content[free : free + HEAD_BYTES] = foreign
    moved = journal._head(opened.mark, free, 3, b"")
    content[free + BLOCK_BYTES : free + BLOCK_BYTES + HEAD_BYTES] = moved
    path.write_bytes(content)
    assert recovered(opened, 0) == [b"one"]


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 4 * BLOCK_BYTES - HEAD_BYTES - 3 * MORE_BYTES)),
        st.tuples(st.just("append"), st.integers(0, 100)),
        st.tuples(st.sampled_from(["change", "skip"]), st.just(0)),
        st.tuples(st.just("reopen"), st.integers(4, 12)),
    ),
    max_size=40,
)


@given(steps=_steps)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_all_that_the_file_lacks_is_recovered(tmp_path: Path, steps: list[tuple[str, int]]) -> None:
    """Over any number of rounds, however long the halves are."""
    life = Life(tmp_path / str(next(_numbers)))
    for step, number in steps:
        match step:
            case "append":
                life.append(number)
            case "change":
                life.change()
            case "skip":
                life.skip()
            case _:
                life.reopen(number)
        life.check()
    life.journal.close()
    life.path.unlink()
