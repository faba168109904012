"""A journal that is damaged, cut short, missing, or not the store's own: it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.store.engines.sqlite.journals import BLOCKS, HEAD_BYTES, STORE, recovered
from understudy_store.engines.sqlite.journal import BLOCK_BYTES, Journal
from understudy_store.engines.sqlite.journal_recovery import recover
from understudy_store.errors import StoreFormatError

pytestmark = pytest.mark.usefixtures("small_halves")


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
        recovered(made, 0)


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
            recovered(opened, 0)
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
            recovered(opened, 0)
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
