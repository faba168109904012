"""Plain data comes back as the same values of the same types."""

from __future__ import annotations

import math
import zoneinfo
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.sdk.values.samples import (
    CODEC,
    Item,
    round_trip,
    same,
    values,
)
from understudy.errors import DecodingError


class TestRoundTrip:
    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(values)
    def test_any_plain_value(self, value: Any) -> None:
        assert same(round_trip(value), value)

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(values, max_size=3).map(tuple), st.dictionaries(st.text(), values, max_size=3))
    def test_any_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        got_args, got_kwargs = CODEC.decode_call(CODEC.encode_call(args, kwargs))
        assert same(got_args, args)
        assert same(got_kwargs, kwargs)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(values)
    def test_a_hint_that_names_other_classes_changes_nothing(self, value: Any) -> None:
        assert same(round_trip(value, hint=Item | Any), value)

    @pytest.mark.parametrize(
        "value",
        [
            2**63,
            2**64 - 1,
            2**64,
            -(2**63),
            -(2**63) - 1,
            1 << 20_000,
            -0.0,
            math.inf,
            -math.inf,
            datetime(2024, 10, 27, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
            datetime(2024, 1, 1, 12, 0, 0, 1),  # noqa: DTZ001 - naive ones too
            time(1, 2, 3, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
            date.min,
            timedelta.min,
            Decimal("-0.00"),
            Decimal("sNaN"),
            UUID(int=5),
            {True: 1, 2: "b", None: 3, (1, "x"): [4], b"k": {5}},
            {1: {2: {3: []}}},
            {2**70: 1},
            [[], (), set(), frozenset(), {}],
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_corner_cases(self, value: Any) -> None:
        assert same(round_trip(value), value)
        assert same(round_trip([{"deep": (value,)}]), [{"deep": (value,)}])

    def test_zone_keys_survive(self) -> None:
        when = datetime(2024, 6, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
        assert round_trip(when).tzinfo is zoneinfo.ZoneInfo("Europe/Berlin")

    def test_an_unknown_zone_is_an_error_and_not_another_zone(self) -> None:
        when = datetime(2024, 6, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
        data = CODEC.encode_value(when).replace(b"Europe/Berlin", b"Europe/Nerlib")
        with pytest.raises(DecodingError, match=r"'Europe/Nerlib' is not known.*package tzdata"):
            CODEC.decode_value(data)

    def test_plain_data_is_plain_msgpack(self) -> None:
        value = {"id": "a", "n": [1, 2.5, None, True], "b": b"x"}
        assert CODEC.encode_value(value) == msgspec.msgpack.encode(value)
        assert CODEC.encode_call((1,), {}) == msgspec.msgpack.encode([[1], {}])

    def test_no_data_is_none(self) -> None:
        assert CODEC.decode_value(None, Item) is None
