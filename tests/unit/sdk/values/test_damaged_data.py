"""Damaged or hostile data is a DecodingError and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.sdk.values.samples import (
    CODEC,
    Color,
    Order,
    Person,
    values,
)
from understudy.errors import DecodingError
from understudy.values import CallTypes


class TestDamagedData:
    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.binary(max_size=60))
    def test_random_bytes(self, data: bytes) -> None:
        self.check(data)

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(values, st.data())
    def test_damaged_values(self, value: Any, data: st.DataObject) -> None:
        good = bytearray(CODEC.encode_call((value,), {}))
        for _ in range(data.draw(st.integers(1, 3))):
            good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
        self.check(bytes(good[: data.draw(st.integers(0, len(good)))]))

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.integers(-128, 127), st.binary(max_size=40))
    def test_damaged_extensions(self, code: int, data: bytes) -> None:
        self.check(msgspec.msgpack.encode(msgspec.msgpack.Ext(code, data)))

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\xc1",
            b"\x91" * 100_000,
            b"\xdd\xff\xff\xff\xff",
            b"\xa1\xff",
            b"\x01\x01",
            CODEC.encode_value([1, 2]),
            CODEC.encode_value([[], {1: 2}]),
            CODEC.encode_value({}),
        ],
    )
    def test_data_that_is_not_a_call(self, data: bytes) -> None:
        self.check(data)
        with pytest.raises(DecodingError):
            CODEC.decode_call(data)

    def test_extensions_inside_extensions(self) -> None:
        data = b"\x90"
        for _ in range(3000):
            data = msgspec.msgpack.encode([msgspec.msgpack.Ext(2, data)])
        with pytest.raises(DecodingError):
            CODEC.decode_value(data)

    @staticmethod
    def check(data: bytes) -> None:
        """Decodes, or raises DecodingError, and nothing else."""

        def f(ctx: Any, order: Order, *rest: Person | Color) -> None:
            raise AssertionError("never called: only its signature is read")

        types = CallTypes.of(f)
        for attempt in (
            lambda: CODEC.decode_value(data),
            lambda: CODEC.decode_value(data, dict[Color, list[Order]] | Order),
            lambda: CODEC.decode_call(data),
            lambda: CODEC.decode_call(data, types),
            lambda: CODEC.decode_error(data),
        ):
            try:
                attempt()
            except DecodingError:
                continue
