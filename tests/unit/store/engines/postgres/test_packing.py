"""Packed journal records: whatever a commit holds comes back."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.store.samples import row
from understudy_store.changes import Changes
from understudy_store.engines.journaled.journal_records import decode, encode
from understudy_store.engines.postgres.packing import PACKED_MIN, packed, unpacked


def commit(count: int) -> bytes:
    return encode(Changes(1, inserted=[row(f"order-7.{n}") for n in range(count)]))


@given(st.binary(max_size=3 * PACKED_MIN))
def test_every_record_comes_back(rest: bytes) -> None:
    record = commit(0)[:1] + rest
    assert unpacked(packed(record)) == record


def test_a_small_commit_stays_as_it_is() -> None:
    record = commit(1)
    assert packed(record) == record


def test_calls_that_are_alike_take_little() -> None:
    record = commit(1000)
    assert len(packed(record)) < len(record) / 10
    assert [each.promise.id for each in decode(unpacked(packed(record))).inserted] == [
        f"order-7.{n}" for n in range(1000)
    ]


def test_what_is_damaged_is_not_taken_for_a_record() -> None:
    data = packed(commit(1000))
    with pytest.raises(zlib.error):
        unpacked(data[:-1])
