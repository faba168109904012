"""The journal's format: what was appended is recovered, and nothing else, or it is refused."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from struct import pack
from typing import Any, Final
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from understudy_store.engines.sqlite import journal
from understudy_store.engines.sqlite.journal import BLOCK_BYTES, Journal, data_bytes_max
from understudy_store.engines.sqlite.journal_recovery import recover
from understudy_store.errors import StoreFormatError

STORE: Final = b"store-01"
HEAD_BYTES: Final = 36
#: the word at the beginning of each further block of a record
MORE_BYTES: Final = 4
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


def _recovered(made: Journal, number: int) -> list[bytes]:
    """What a process finds whose file has the commits up to `number` and names this journal."""
    return recover(made.path, STORE, number, made.mark)


def _data(number: int, size: int) -> bytes:
    """So many bytes, which no other record has."""
    return (f"{number}:".encode() * size)[:size]


def _filling(blocks: int) -> bytes:
    """What fills so many blocks to the last byte."""
    return bytes(blocks * BLOCK_BYTES - HEAD_BYTES - (blocks - 1) * MORE_BYTES)


def test_a_new_one_holds_nothing(opened: Journal, path: Path) -> None:
    assert _recovered(opened, 0) == []
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
    assert _recovered(opened, 0) == held
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
    assert _recovered(made, 0) == [b"a"]


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
    assert _recovered(opened, 0) == [b"first", b"second"]
    opened.switch()
    opened.append(b"third")
    assert path.read_bytes()[BLOCK_BYTES + HEAD_BYTES :].startswith(b"third")
    assert _recovered(opened, 1) == [b"second", b"third"]
    # what held the first has been written over
    with pytest.raises(StoreFormatError, match="commit 1 is in neither"):
        _recovered(opened, 0)


def test_a_number_that_is_skipped_is_not_missed(opened: Journal, path: Path) -> None:
    opened.append(b"first")
    before = path.read_bytes()
    opened.skip()
    assert path.read_bytes() == before
    opened.append(b"third")
    assert opened.number == 3
    assert _recovered(opened, 2) == [b"third"]
    with pytest.raises(StoreFormatError, match="commit 2 is in neither"):
        _recovered(opened, 0)


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
    end = 2 * BLOCK_BYTES + cut
    path.write_bytes(path.read_bytes()[:end] + before[end:])
    whole = cut > 2 * BLOCK_BYTES + HEAD_BYTES
    expected = [_data(17, 100), *([_data(18, 2 * BLOCK_BYTES + 1)] if whole else [])]
    assert _recovered(opened, 16) == expected
    # the next process writes from the beginning, and may be cut short likewise
    held = 16 + len(expected)
    again = Journal(path, STORE, held)
    assert _recovered(again, held) == []
    again.append(b"after that")
    again.close()
    assert _recovered(again, held) == [b"after that"]


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
        made.append(_data(number, 2_000))
    made.close()
    whole = path.read_bytes()
    for block in (2, 3):
        at = block * BLOCK_BYTES + place
        path.write_bytes(whole[:at] + bytes([whole[at] ^ flipped]) + whole[at + 1 :])
        if block == 3:  # the last: nobody was told of it
            assert _recovered(made, 0) == [_data(1, 2_000), _data(2, 2_000)]
        else:
            with pytest.raises(StoreFormatError, match="commit 2 is in neither"):
                _recovered(made, 0)
        assert _recovered(made, 3) == []


@given(place=st.integers(0, HEAD_BYTES - 1), flipped=st.integers(1, 255))
@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_garbled_header_is_refused_where_the_journal_is_needed(
    tmp_path: Path, place: int, flipped: int
) -> None:
    path = tmp_path / "garbled"
    made = Journal(path, STORE, 0)
    made.append(b"a")
    made.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + bytes([whole[place] ^ flipped]) + whole[place + 1 :])
    with pytest.raises(StoreFormatError, match="is damaged, or is not the journal"):
        _recovered(made, 0)


@pytest.mark.parametrize("named", [b"", b"another1"])
def test_the_journal_of_another_store_is_refused(named: bytes, opened: Journal, path: Path) -> None:
    opened.append(b"a")
    for number in (0, 1):
        with pytest.raises(StoreFormatError, match="journal of another store"):
            recover(path, b"store-02", number, named)


def test_a_journal_that_is_named_must_be_there(opened: Journal, path: Path) -> None:
    opened.append(b"a")
    path.rename(path.with_name("away"))
    for content in (None, b""):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(StoreFormatError, match=r"is missing.*--accept-lost-journal"):
            _recovered(opened, 0)
        assert recover(path, STORE, 0, opened.mark, accept_lost=True) == []


def test_a_journal_that_is_named_must_be_whole(opened: Journal, path: Path) -> None:
    """Also if each record that is left of it is whole, because they may not be all."""
    held = [b"a", b"b", b"c"]
    for data in held:
        opened.append(data)
    whole = path.read_bytes()
    for size, left in ((len(whole) - 1, 3), (4 * BLOCK_BYTES, 3), (3 * BLOCK_BYTES + 9, 2)):
        path.write_bytes(whole[:size])
        with pytest.raises(StoreFormatError, match=r"cut short.*--accept-lost-journal") as caught:
            _recovered(opened, 0)
        assert f"it has {size:,} of {len(whole):,} bytes" in str(caught.value)
        assert path.read_bytes() == whole[:size]
        assert recover(path, STORE, 0, opened.mark, accept_lost=True) == held[:left]


def test_a_journal_that_was_cut_before_its_last_commits_says_which_is_missing(
    opened: Journal, path: Path
) -> None:
    """The newer half comes first in the file, so a cut may take the older commits."""
    opened.append(b"in the file")
    opened.switch()
    opened.append(b"cut off")
    opened.switch()
    opened.append(b"left")
    path.write_bytes(path.read_bytes()[: (1 + BLOCKS) * BLOCK_BYTES])
    with pytest.raises(StoreFormatError, match="commit 2 is in neither"):
        recover(path, STORE, 1, opened.mark, accept_lost=True)


@pytest.mark.parametrize("blocks", [0, 1, 5])
def test_a_journal_that_nothing_names_may_be_half_made(blocks: int, path: Path) -> None:
    """The process died while it made the file."""
    made = Journal(path, STORE, 0)
    made.close()
    path.write_bytes(path.read_bytes()[: blocks * BLOCK_BYTES])
    assert recover(path, STORE, 0, b"") == []


def test_the_journal_of_another_time_is_refused(opened: Journal, path: Path) -> None:
    """The store's file was exchanged for an older copy, or the journal was."""
    opened.append(b"a")
    for named, number, accept_lost in [
        (b"earlier1", 0, False),
        (b"earlier1", 1, False),
        (b"earlier1", 1, True),
        (b"", 0, False),
    ]:
        with pytest.raises(StoreFormatError, match="is of another time than the store"):
            recover(path, STORE, number, named, accept_lost=accept_lost)
    # The file has all of it: the process died before it could remove the journal.
    assert recover(path, STORE, 1, b"") == []


def test_what_a_record_holds_is_not_looked_at(opened: Journal, path: Path) -> None:
    """As it may be a copy of a journal."""
    opened.append(b"a")
    inner = path.read_bytes()[BLOCK_BYTES : 2 * BLOCK_BYTES]
    held = [bytes(pad) + inner * 2 for pad in (BLOCK_BYTES - HEAD_BYTES, BLOCK_BYTES)]
    for data in held:
        opened.append(data)
    assert _recovered(opened, 1) == held


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
    assert _recovered(made, 4) == [b"five", b"six"]
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
    assert _recovered(opened, 0) == [b"one"]


# ---- payloads of somebody who knows everything ----------------------------------------------


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
                inner = _first_format(b"foreign1", 1, b"")[:28]
        return (bytes(pad) + inner * (size // len(inner) + 1))[:size]


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
    assert _recovered(opened, 1) == [b"two", b"three"]


@given(draw=st.data())
@settings(max_examples=80, deadline=None)
def test_whatever_payloads_are_and_wherever_it_is_cut_short_all_acknowledged_is_recovered(
    draw: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The last write is cut short: any of its sectors may have reached the disk, in any order."""
    path = tmp_path_factory.mktemp("forged") / "x.db.journal"
    life = _Life(path)
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
        found = _recovered(life.journal, held)
        acknowledged = life.after(held, last - 1)
        whole = life.after(held, last)
        assert found == whole or (found == acknowledged and kept != set(changed))
    path.unlink()


def _first_format(store: bytes, number: int, data: bytes) -> bytes:
    """A record as the first format has it, with its blocks."""
    unsealed = pack("<4s8sQI", b"usj1", store, number, len(data))
    record = unsealed + pack("<I", crc32(data, crc32(unsealed))) + data
    return record + bytes(-len(record) % BLOCK_BYTES)


def _first_journal(path: Path, *halves: bytes) -> None:
    path.write_bytes(b"".join(half.ljust(BLOCKS * BLOCK_BYTES, b"\0") for half in halves))


def test_a_journal_of_the_first_format_is_recovered(path: Path) -> None:
    """An earlier version was killed; its file names no journal."""
    old = [_first_format(STORE, number, _data(number, 5_000)) for number in range(1, 6)]
    _first_journal(path, old[3] + old[4] + old[1], old[1] + old[2])
    assert recover(path, STORE, 1, b"") == [_data(number, 5_000) for number in range(2, 6)]
    assert recover(path, STORE, 5, b"") == []
    _first_journal(path, old[4], old[1] + old[2])
    with pytest.raises(StoreFormatError, match="commit 4 is in neither"):
        recover(path, STORE, 1, b"")
    _first_journal(path, b"", _first_format(b"foreign1", 1, b""))
    with pytest.raises(StoreFormatError, match="journal of another store"):
        recover(path, STORE, 5, b"")


def test_a_payload_in_a_journal_of_the_first_format_is_not_taken_for_one_of_another_store(
    path: Path,
) -> None:
    head = _first_format(b"foreign1", 1, b"")[:28]
    for pad in range(4):
        left = (bytes(BLOCK_BYTES) + bytes(pad) + head * 1000)[: 4 * BLOCK_BYTES]
        _first_journal(path, _first_format(STORE, 7, b"seven") + left, b"")
        assert recover(path, STORE, 6, b"") == [b"seven"]


class _Life:
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
                assert _recovered(self.journal, held) == self.after(held, self.journal.number)

    @contextmanager
    def of_this_size(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(journal, "HALF_BYTES", self.half_bytes)
            yield

    def after(self, held: int, last: int) -> list[bytes]:
        return [data for number, data in self.written.items() if held < number <= last]

    def append(self, size: int) -> None:
        self.put(_data(self.journal.number + 1, size))

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
