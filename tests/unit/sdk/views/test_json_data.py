"""Stored values as JSON data."""

from __future__ import annotations

import datetime as dt
import json
import pickle
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from understudy.values import Codec
from understudy.views.json_data import compact, decoded


class Trap:
    """An object that records that it was unpickled."""

    sprung = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (spring, ())


def spring() -> str:
    Trap.sprung = True
    return "sprung"


def shown(value: Any) -> Any:
    return decoded(Codec().encode_value(value))


def test_plain_values_become_json() -> None:
    value = {
        "when": dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC),
        "sum": Decimal("1.50"),
        "id": UUID(int=5),
        "tags": {"b", "a"},
        "raw": b"\x00\xff",
        "pair": (1, 2**80),
        7: float("inf"),
    }
    assert shown(value) == {
        "when": "2026-01-31T12:00:00+00:00",
        "sum": "1.50",
        "id": "00000000-0000-0000-0000-000000000005",
        "tags": ["a", "b"],
        "raw": "AP8=",
        "pair": [1, 2**80],
        "7": "inf",
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(json_values)
def test_whatever_is_encoded_can_be_shown(value: Any) -> None:
    assert isinstance(json.loads(json.dumps(shown(value), allow_nan=False)), object)


def test_pickles_are_never_loaded() -> None:
    data = Codec(pickle=True).encode_value({"inside": [Trap()]})
    assert pickle.loads(pickle.dumps(Trap())) == "sprung"
    Trap.sprung = False
    text = decoded(data)["inside"][0]
    assert text.startswith("<pickled, ")
    assert not Trap.sprung


def test_damaged_values_are_described() -> None:
    assert decoded(b"\xc1\x00") == "<not readable, 2 bytes>"
    assert decoded(None) is None


def test_long_values_are_cut() -> None:
    assert compact("x" * 100, 10) == '"xxxxxxxx…'
    assert len(compact("x" * 100, None)) == 102
