"""Types and values of them, drawn at random."""

# Types are made of values here, which a type checker cannot follow.
# mypy: disable-error-code="valid-type"

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pydantic
from hypothesis import strategies as st

from tests.unit.sdk.values.classes import (
    BILLING,
    SHIPPING,
    Cash,
    Circle,
    Gift,
    Left,
    Page,
    Right,
    Square,
    StructPage,
    Titled,
    TuplePage,
    Valued,
    Voucher,
)
from tests.unit.sdk.values.samples import Color, Level, Point, zones

#: each type with a strategy for its values
Drawn = tuple[Any, st.SearchStrategy[Any]]

leaves: list[Drawn] = [
    (int, st.integers()),
    (str, st.text(max_size=5)),
    (bytes, st.binary(max_size=5)),
    (Decimal, st.decimals(allow_nan=False)),
    (date, st.dates()),
    (datetime, st.datetimes(timezones=zones)),
    (Color, st.sampled_from(Color)),
    (Level, st.sampled_from(Level)),
    (BILLING.State, st.sampled_from(BILLING.State)),
    (SHIPPING.State, st.sampled_from(SHIPPING.State)),
    (BILLING.Line, st.builds(BILLING.Line, st.integers())),
    (SHIPPING.Line, st.builds(SHIPPING.Line, st.integers())),
    (Point, st.builds(Point, st.integers(), st.integers())),
    (Left, st.builds(Left, st.integers())),
    (Right, st.builds(Right, st.integers())),
    (Circle, st.builds(Circle, st.integers())),
    (Square, st.builds(Square, st.integers())),
    (
        Valued,
        st.builds(Valued, color=st.sampled_from(Color), colors=st.lists(st.sampled_from(Color))),
    ),
    (Cash, st.builds(Cash, cents=st.integers())),
    (Voucher, st.builds(Voucher, cents=st.integers()) | st.builds(Gift, cents=st.integers())),
]

#: data of which classes could be made, where an annotation names one
raws = st.sampled_from(
    ["red", 1, {"n": 1}, {"size": 1}, {"x": 1, "y": 2}, {"cents": 1}, {"first": 1}, [1, "red"]]
)


def wider(inner: st.SearchStrategy[Drawn]) -> st.SearchStrategy[Drawn]:
    def of_one(make: Callable[[Any, st.SearchStrategy[Any]], Drawn]) -> st.SearchStrategy[Drawn]:
        return inner.map(lambda drawn: make(*drawn))

    def of_two(
        make: Callable[[Any, st.SearchStrategy[Any], Any, st.SearchStrategy[Any]], Drawn],
    ) -> st.SearchStrategy[Drawn]:
        return st.tuples(inner, inner).map(lambda drawn: make(*drawn[0], *drawn[1]))

    return st.one_of(
        of_one(lambda hint, values: (list[hint], st.lists(values, max_size=3))),
        of_one(lambda hint, values: (dict[str, hint], st.dictionaries(st.text(), values))),
        of_one(lambda hint, values: (hint | None, st.none() | values)),
        # A field holds what its object was given, whatever its annotation says.
        of_one(lambda hint, values: (Page[hint], pages(Page, values | raws))),
        of_one(lambda hint, values: (StructPage[hint], pages(StructPage, values | raws))),
        of_one(lambda hint, values: (TuplePage[hint], pages(TuplePage, values | raws))),
        of_one(
            lambda hint, values: (
                Titled[hint],
                st.builds(Titled, values, st.lists(values | raws, max_size=2), values | raws),
            )
        ),
        of_two(lambda one, ones, two, twos: (tuple[one, two], st.tuples(ones, twos))),
        of_two(lambda one, ones, two, twos: (one | two, ones | twos)),
    )


def pages(kind: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, values, st.lists(values, max_size=2))


types_and_values = st.recursive(st.sampled_from(leaves), wider, max_leaves=5).flatmap(
    lambda drawn: st.tuples(st.just(drawn[0]), drawn[1])
)


def same_types(left: Any, right: Any) -> bool:
    """Whether two equal values have the same types all the way down."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return same_types([*left.items()], [*right.items()])
    if isinstance(left, list | tuple):
        return all(map(same_types, left, right))
    if dataclasses.is_dataclass(left) or isinstance(left, pydantic.BaseModel):
        return same_types(vars(left), vars(right))
    if isinstance(left, msgspec.Struct):
        return same_types(msgspec.structs.astuple(left), msgspec.structs.astuple(right))
    if isinstance(left, datetime):
        return type(left.tzinfo) is type(right.tzinfo) and left.tzname() == right.tzname()
    return True
