"""Values that are made to take very long to build are refused, and honest ones are not."""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import msgpack

from tests.unit.sdk.values.samples import CODEC
from understudy.errors import DecodingError
from understudy.values import extension_types
from understudy.values.collisions import (
    FEW,
    CollisionError,
    check_hashes,
    check_keys,
)

#: Python's hash of an integer is its remainder by this
_MODULUS: Final = (1 << 61) - 1
#: as many as took a second, and four times as long for twice as many
_MANY: Final = 10_000
_REFUSED: Final = r"same hash|neither text nor integers"
_BOMB: Final = [number * _MODULUS for number in range(1, _MANY)]


def _big(number: int) -> bytes:
    size = number.bit_length() // 8 + 1
    data = number.to_bytes(size, "big", signed=True)
    return msgpack.encode(msgpack.Ext(extension_types.BIG_INT, data))


def _array(items: list[bytes]) -> bytes:
    return b"\xdd" + struct.pack(">I", len(items)) + b"".join(items)


def _map(keys: list[bytes]) -> bytes:
    return b"\xdf" + struct.pack(">I", len(keys)) + b"".join(key + b"\xc0" for key in keys)


def _extension(code: int, data: bytes) -> bytes:
    return msgpack.encode(msgpack.Ext(code, data))


def _set(keys: list[bytes]) -> bytes:
    return _extension(extension_types.SET, _array(keys))


def _frozenset(keys: list[bytes]) -> bytes:
    return _extension(extension_types.FROZENSET, _array(keys))


def _pairs(keys: list[bytes]) -> bytes:
    return _extension(
        extension_types.PAIRS, _array([part for key in keys for part in (key, b"\0")])
    )


def _nested_map(keys: list[bytes]) -> bytes:
    return _extension(extension_types.TUPLE, _array([b"\x01", b"\x81\xa1a" + _map(keys)]))


def _map_16(keys: list[bytes]) -> bytes:
    return b"\xde" + struct.pack(">H", len(keys)) + _map(keys)[5:]


@pytest.mark.parametrize("make", [_set, _frozenset, _pairs, _map, _map_16, _nested_map])
class TestBombs:
    def test_integers_with_one_hash(self, make: Callable[[list[bytes]], bytes]) -> None:
        with pytest.raises(DecodingError, match=_REFUSED):
            CODEC.decode_value(make([_big(number) for number in _BOMB]))

    def test_half_of_them_honest(self, make: Callable[[list[bytes]], bytes]) -> None:
        keys = [_big(number) for number in _BOMB] + [msgpack.encode(n) for n in range(_MANY)]
        with pytest.raises(DecodingError, match=_REFUSED):
            CODEC.decode_value(make(keys))


def test_tuples_as_keys_of_a_map() -> None:
    """A sender can choose tuples of numbers with one hash, too; we write no such map."""
    with pytest.raises(DecodingError, match="neither text nor integers"):
        CODEC.decode_value(_map([b"\x92" + msgpack.encode(n) + b"\x01" for n in range(_MANY)]))


_keys = st.one_of(
    st.integers(), st.text(max_size=3), st.decimals(allow_nan=False), st.tuples(st.integers())
)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(_keys, st.none(), min_size=FEW, max_size=3 * FEW))
def test_honest_dicts_and_sets_arrive(honest: dict[Any, None]) -> None:
    for value in (honest, set(honest), [honest, b"\xdf\xde\xff"]):
        assert CODEC.decode_value(CODEC.encode_value(value)) == value


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.one_of(st.none(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(), st.binary()),
        lambda parts: st.one_of(
            st.lists(parts), st.dictionaries(st.one_of(st.text(), st.integers(0, 9)), parts)
        ),
    )
)
def test_what_msgpack_holds_by_itself_passes(value: Any) -> None:
    check_keys(msgpack.encode([value, b"\xdf"]))


def test_keys_are_found_beside_every_kind_of_neighbour() -> None:
    bomb = _map([b"\x91" + msgpack.encode(n) for n in range(FEW)])
    for data in (
        b"\x92\x01" + bomb,
        b"\x81\x01" + bomb,
        b"\x93\xa1x" + bomb + b"\xcb" + bytes(8),
        b"\xdc\x00\x01" + bomb,
        b"\xdd\x00\x00\x00\x01" + bomb,
        b"\xde\x00\x01\xa1k" + bomb,
        _map_16([b"\x91" + msgpack.encode(n) for n in range(FEW)]),
    ):
        with pytest.raises(CollisionError):
            check_keys(data)


@pytest.mark.parametrize("same", [1, 16])
def test_few_of_one_hash_pass(same: int) -> None:
    """So many integers of 64 bits may have one hash, by chance or not."""
    check_hashes([number * _MODULUS + each for number in range(same) for each in range(500)])


def test_many_of_one_hash_do_not() -> None:
    with pytest.raises(CollisionError):
        check_hashes([Decimal(number * _MODULUS) for number in range(1, 100)])


def test_what_has_no_hash_is_the_callers_error() -> None:
    with pytest.raises(TypeError):
        check_hashes([[] for _ in range(FEW)])
