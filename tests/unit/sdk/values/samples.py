"""Sample values and classes for the tests of the codec."""

from __future__ import annotations

import dataclasses
import enum
import math
import zoneinfo
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple, NewType, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytz
from dateutil import tz
from hypothesis import strategies as st
from pydantic_core import TzInfo

from understudy.values import Codec

CODEC = Codec()
PICKLING = Codec(pickle=True)


def round_trip(value: Any, hint: Any = None) -> Any:
    return CODEC.decode_value(CODEC.encode_value(value), hint)


def same(left: Any, right: Any) -> bool:
    """Equal, of the same types all the way down, with NaN equal to itself."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return bool(left == right) or (math.isnan(left) and math.isnan(right))
    if isinstance(left, Decimal):
        return str(left) == str(right)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left), list(right)) and same([*left.values()], [*right.values()])
    if isinstance(left, datetime | time):
        return type(left.tzinfo) is type(right.tzinfo) and (
            (left, left.fold, left.utcoffset(), left.tzname())
            == (right, right.fold, right.utcoffset(), right.tzname())
        )
    return bool(left == right)


zones = st.none() | st.sampled_from(
    [
        UTC,
        timezone(timedelta(hours=-3, minutes=-30)),
        timezone(timedelta(hours=1), "CET"),
        zoneinfo.ZoneInfo("Europe/Berlin"),
        TzInfo(-12_600),
        pytz.FixedOffset(90),
        tz.tzoffset("a", 61),
    ]
)
hashables = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**200), max_value=2**200)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes(timezones=zones)
    | st.times(timezones=st.none() | st.just(UTC))
    | st.dates()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
values = st.recursive(
    hashables | st.just(math.nan) | st.just(Decimal("NaN")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(hashables, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.dictionaries(hashables, inner, max_size=4)
    ),
    max_leaves=12,
)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Item:
    sku: str
    count: int = 1


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int


@dataclasses.dataclass
class Animal:
    name: str


@dataclasses.dataclass
class Dog(Animal):
    pass


@dataclasses.dataclass
class Cat(Animal):
    pass


@dataclasses.dataclass
class Order:
    id: UUID
    items: list[Item]
    colors: dict[Color, set[Level]]
    pet: Dog | Cat | None = None
    parent: Order | None = None
    total: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        self.total = sum(item.count for item in self.items)


class Pair(msgspec.Struct, frozen=True):
    left: Item
    right: Pair | None = None
    size: int | msgspec.UnsetType = msgspec.UNSET


class Address(pydantic.BaseModel):
    street: str
    site: pydantic.HttpUrl | None = None


class Person(pydantic.BaseModel):
    name: str = pydantic.Field(alias="fullName")
    addresses: list[Address] = []
    color: Color = Color.RED
    born: date | None = None


class Tags(pydantic.RootModel[list[str]]):
    pass


class Spot(NamedTuple):
    at: Point
    color: Color


class Row(TypedDict):
    item: Item
    n: int


ItemId = NewType("ItemId", Item)
ITEMS = [Item("a", 2), Item("b")]
