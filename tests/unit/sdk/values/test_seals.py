"""Sealed values: what opens them, and what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.errors import PayloadTooLargeError, SealedValueError
from understudy.values.codec import Codec
from understudy.values.seals import (
    BOUND,
    OVERHEAD_BYTES,
    PARAM,
    SCHEDULE,
    Authentic,
    Place,
    Sealer,
    SealKey,
    is_id,
    is_sealed,
    key_id,
    problem_of,
)

ONE = SealKey("k1", bytes(range(32)))
TWO = SealKey("k2", bytes(32))
SEALER = Sealer([ONE])
PLACE = Place("pay-1", PARAM, "pay")
places = st.builds(
    Place, st.text(min_size=1), st.sampled_from(["param", "resolved", "rejected"]), st.text()
)


@given(st.binary(), places)
def test_what_is_sealed_is_opened_in_its_place(data: bytes, place: Place) -> None:
    sealed = SEALER.seal(data, place)
    assert is_sealed(sealed)
    assert key_id(sealed) == "k1"
    assert len(sealed) <= len(data) + OVERHEAD_BYTES
    opened = SEALER.opened(sealed, place)
    assert opened == data
    assert type(opened) is Authentic
    assert SEALER.opened(opened, place) is opened


@given(places, places)
def test_nothing_is_opened_in_another_place(place: Place, other: Place) -> None:
    sealed = SEALER.seal(b"data", place)
    assert (SEALER.opened(sealed, other) == b"data") is (place == other)


@given(st.data())
def test_no_byte_can_be_changed(data: st.DataObject) -> None:
    sealed = bytearray(SEALER.seal(b"data", PLACE))
    index = data.draw(st.integers(0, len(sealed) - 1))
    sealed[index] ^= data.draw(st.integers(1, 255))
    assert SEALER.opened(bytes(sealed), PLACE) != b"data"


@given(st.integers(0, 50))
def test_a_value_that_is_cut_off_is_not_opened(size: int) -> None:
    sealed = SEALER.seal(b"data", PLACE)
    cut = sealed[: min(size, len(sealed) - 1)]
    assert SEALER.opened(cut, PLACE) == cut


@given(st.binary())
def test_no_bytes_at_all_are_an_error(data: bytes) -> None:
    assert type(SEALER.opened(b"\xc1" + data, PLACE)) is bytes
    assert problem_of(b"\xc1" + data, SEALER)
    assert is_id(key_id(b"\xc1" + data)) or key_id(b"\xc1" + data) == ""


def test_two_seals_of_one_value_differ() -> None:
    assert SEALER.seal(b"data", PLACE) != SEALER.seal(b"data", PLACE)


def test_the_first_key_seals_and_all_open() -> None:
    old = SEALER.seal(b"old", PLACE)
    both = Sealer([TWO, ONE])
    assert both.opened(old, PLACE) == b"old"
    new = both.seal(b"new", PLACE)
    assert key_id(new) == "k2"
    assert SEALER.opened(new, PLACE) is new


def test_a_key_of_the_same_id_is_another_key() -> None:
    sealed = SEALER.seal(b"data", PLACE)
    assert is_sealed(Sealer([SealKey("k1", bytes(32))]).opened(sealed, PLACE))


def test_arguments_of_a_schedule_open_in_each_of_its_calls() -> None:
    sealed = SEALER.seal(b"data", Place("", PARAM, "pay"))
    assert sealed[1] == SCHEDULE
    assert SEALER.opened(sealed, PLACE) == b"data"
    assert is_sealed(SEALER.opened(sealed, PLACE._replace(function="refund")))
    assert is_sealed(SEALER.opened(sealed, Place("pay-1", "resolved", "pay")))


def test_the_form_cannot_be_changed() -> None:
    sealed = bytearray(SEALER.seal(b"data", Place("", PARAM, "pay")))
    sealed[1] = BOUND
    assert is_sealed(SEALER.opened(bytes(sealed), Place("", PARAM, "pay")))


def test_values_that_are_not_sealed() -> None:
    assert SEALER.opened(b"data", PLACE) == b"data"
    refused = Sealer([ONE], required=True).opened(b"data", PLACE)
    assert is_sealed(refused)
    assert "not sealed" in problem_of(refused, SEALER)


@pytest.mark.parametrize(
    ("sealer", "text"),
    [
        (None, "has no seal keys"),
        (Sealer([TWO]), "'k1', which this process does not have"),
        (SEALER, "not for this place"),
    ],
)
def test_the_codec_says_why_a_value_is_still_sealed(sealer: Sealer | None, text: str) -> None:
    codec, sealed = Codec(sealer=sealer), SEALER.seal(b"\x01", PLACE)
    for decode in (codec.decode_value, codec.decode_call, codec.decode_error):
        with pytest.raises(SealedValueError, match=text):
            decode(sealed)


def test_secrets_are_not_shown() -> None:
    assert repr(ONE) == "SealKey('k1')"


def test_room_for_the_seal_is_kept() -> None:
    codec = Codec(payload_bytes_max=1_000, sealer=SEALER)
    fits = codec.encode_value(b"x" * (1_000 - OVERHEAD_BYTES - 3))
    assert len(SEALER.seal(fits, PLACE)) <= 1_000
    with pytest.raises(PayloadTooLargeError):
        codec.encode_value(b"x" * (1_000 - OVERHEAD_BYTES))
