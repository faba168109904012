"""The journal's format: what was appended is recovered, and nothing else, or it is refused."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from understudy_store.engines.sqlite import journal
from understudy_store.engines.sqlite.journal import BLOCK_BYTES, Journal, data_bytes_max, recover
from understudy_store.errors import StoreFormatError

STORE: Final = b"store-01"
HEAD_BYTES: Final = 28
SECTOR_BYTES: Final = 512
#: in a half
BLOCKS: Final = 8

_numbers = count()


@pytest.fixture(autouse=True)
def small_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "HALF_BYTES", BLOCKS * BLOCK_BYTES)
    monkeypatch.setattr(journal, "RECORD_BYTES_MAX", 4 * BLOCK_BYTES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db.journal"


@pytest.fixture
def opened(path: Path) -> Iterator[Journal]:
    """A new one, of a store that is empty."""
    made = Journal(path, STORE, 0)
    yield made
    made.close()


def _data(number: int, size: int) -> bytes:
    """So many bytes, which no other record has."""
    return (f"{number}:".encode() * size)[:size]


def _filling(blocks: int) -> bytes:
    """What fills so many blocks to the last byte."""
    return bytes(blocks * BLOCK_BYTES - HEAD_BYTES)


def test_a_new_one_holds_nothing(opened: Journal, path: Path) -> None:
    assert recover(path, STORE, 0) == []
    assert path.stat().st_size == 2 * BLOCKS * BLOCK_BYTES
    assert opened.number == 0


def test_none_holds_nothing(path: Path) -> None:
    assert recover(path, STORE, 7) == []


def test_each_record_begins_at_a_block_and_the_file_does_not_grow(
    opened: Journal, path: Path
) -> None:
    """Else a write that is cut short harms a record that was acknowledged."""
    size = path.stat().st_size
    held = [b"", _filling(1), _filling(1) + b"x", b"y"]
    for data in held:
        opened.append(data)
    content = path.read_bytes()
    starts = [at for at in range(0, len(content), SECTOR_BYTES) if content.startswith(b"usj1", at)]
    assert starts == [block * BLOCK_BYTES for block in (0, 1, 2, 4)]
    assert len(content) == size
    assert recover(path, STORE, 0) == held
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
    assert recover(path, STORE, 0) == [b"a"]


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
    assert recover(path, STORE, 0) == [b"first", b"second"]
    opened.switch()
    opened.append(b"third")
    assert path.read_bytes()[HEAD_BYTES:].startswith(b"third")
    assert recover(path, STORE, 1) == [b"second", b"third"]
    # what held the first has been written over
    with pytest.raises(StoreFormatError, match="commit 1 is in neither"):
        recover(path, STORE, 0)


def test_a_number_that_is_skipped_is_not_missed(opened: Journal, path: Path) -> None:
    opened.append(b"first")
    before = path.read_bytes()
    opened.skip()
    assert path.read_bytes() == before
    opened.append(b"third")
    assert opened.number == 3
    assert recover(path, STORE, 2) == [b"third"]
    with pytest.raises(StoreFormatError, match="commit 2 is in neither"):
        recover(path, STORE, 0)


@pytest.mark.parametrize("cut", range(0, 3 * BLOCK_BYTES, SECTOR_BYTES))
def test_a_record_that_is_cut_short_is_none(cut: int, opened: Journal, path: Path) -> None:
    """Over what an earlier round left, as on every day but the first."""
    for number in range(1, 2 * BLOCKS + 1):
        opened.append(_data(number, 100))
        if number % BLOCKS == 0:
            opened.switch()
    opened.append(_data(17, 100))
    before = path.read_bytes()
    opened.append(_data(18, 2 * BLOCK_BYTES + 1))
    end = BLOCK_BYTES + cut
    path.write_bytes(path.read_bytes()[:end] + before[end:])
    whole = cut > 2 * BLOCK_BYTES + HEAD_BYTES
    expected = [_data(17, 100), *([_data(18, 2 * BLOCK_BYTES + 1)] if whole else [])]
    assert recover(path, STORE, 16) == expected
    # the next process writes from the beginning, and may be cut short likewise
    held = 16 + len(expected)
    again = Journal(path, STORE, held)
    assert recover(path, STORE, held) == []
    again.append(b"after that")
    again.close()
    assert recover(path, STORE, held) == [b"after that"]


@given(place=st.integers(0, HEAD_BYTES + 2_000 - 1), flipped=st.integers(1, 255))
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_garbled_record_does_not_count(tmp_path: Path, place: int, flipped: int) -> None:
    path = tmp_path / "garbled"
    if not path.exists():
        made = Journal(path, STORE, 0)
        for number in (1, 2, 3):
            made.append(_data(number, 2_000))
        made.close()
        path.with_name("whole").write_bytes(path.read_bytes())
    whole = path.with_name("whole").read_bytes()
    for block in (1, 2):
        at = block * BLOCK_BYTES + place
        path.write_bytes(whole[:at] + bytes([whole[at] ^ flipped]) + whole[at + 1 :])
        if block == 2:  # the last: nobody was told of it
            assert recover(path, STORE, 0) == [_data(1, 2_000), _data(2, 2_000)]
        else:
            with pytest.raises(StoreFormatError, match="commit 2 is in neither"):
                recover(path, STORE, 0)
        assert recover(path, STORE, 3) == []


def test_the_journal_of_another_store_is_refused(opened: Journal, path: Path) -> None:
    opened.append(b"a")
    for number in (0, 1):
        with pytest.raises(StoreFormatError, match="journal of another store"):
            recover(path, b"store-02", number)


def test_what_a_record_holds_is_not_looked_at(opened: Journal, path: Path) -> None:
    """As it may be a copy of a journal."""
    other = Journal(path.with_name("other"), STORE, 8)
    other.append(b"nine")
    other.close()
    inner = other.path.read_bytes()[:BLOCK_BYTES]
    assert recover(other.path, STORE, 8) == [b"nine"]
    opened.append(b"a")
    opened.append(_filling(1) + inner)
    opened.append(b"c")
    assert recover(path, STORE, 1) == [_filling(1) + inner, b"c"]


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, 2 * BLOCKS * BLOCK_BYTES, 99 * BLOCK_BYTES])
@given(seed=st.binary(min_size=1, max_size=64), headed=st.booleans())
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_garbage_in_its_place_is_written_over(
    tmp_path: Path, size: int, seed: bytes, headed: bool
) -> None:
    path = tmp_path / "garbage"
    # the second: all but the sum is right, and most lengths lead out of the file
    block = (b"usj1" + STORE + seed if headed else seed) * BLOCK_BYTES
    path.write_bytes((block[:BLOCK_BYTES] * (size // BLOCK_BYTES + 1))[:size])
    assert recover(path, STORE, 0) == []
    made = Journal(path, STORE, 4)
    made.append(b"five")
    made.append(b"six")
    made.close()
    assert recover(path, STORE, 4) == [b"five", b"six"]
    assert path.stat().st_size == 2 * BLOCKS * BLOCK_BYTES


class _Life:
    """A journal and, beside it, what a store's file would hold of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: all data by number, but of those that were skipped
        self.written: dict[int, bytes] = {}
        #: the last number that is in the file, and what is there at the next change of halves
        self.held = self.sealed = 0
        self.journal = Journal(path, STORE, 0)

    def check(self) -> None:
        for held in range(self.held, self.journal.number + 1):
            wanted = [data for number, data in self.written.items() if number > held]
            assert recover(self.path, STORE, held) == wanted

    def append(self, size: int) -> None:
        data = _data(self.journal.number + 1, size)
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
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(journal, "HALF_BYTES", blocks * BLOCK_BYTES)
            self.journal = Journal(self.path, STORE, self.held)
        assert self.path.stat().st_size == 2 * blocks * BLOCK_BYTES


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 4 * BLOCK_BYTES - HEAD_BYTES)),
        st.tuples(st.just("append"), st.integers(0, 100)),
        st.tuples(st.sampled_from(["change", "skip"]), st.just(0)),
        st.tuples(st.just("reopen"), st.integers(4, 12)),
    ),
    max_size=40,
)


@given(steps=_steps)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_all_that_the_file_lacks_is_recovered(tmp_path: Path, steps: list[tuple[str, int]]) -> None:
    """Over any number of rounds, however long the halves are."""
    life = _Life(tmp_path / str(next(_numbers)))
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
