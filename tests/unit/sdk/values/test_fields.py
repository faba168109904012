"""Fields of classes arrive with what they held, whatever constructors and annotations say."""

# Fields hold values here that their annotations do not allow.
# mypy: disable-error-code="arg-type"

from __future__ import annotations

import abc
import dataclasses
import enum
import functools
import threading
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Protocol, Self, SupportsInt, TypeVar

import msgspec
import pytest

from tests.unit.sdk.values.arrival import arrive, check, refuse
from tests.unit.sdk.values.classes import Free, Items, Left, Page, StructPage, TuplePage
from tests.unit.sdk.values.samples import CODEC, PICKLING, Color, Item, Row
from understudy.errors import DecodingError

V = TypeVar("V", covariant=True)


@dataclasses.dataclass
class Computed:
    amount: int
    factor: dataclasses.InitVar[float]
    total: float = dataclasses.field(init=False)

    def __post_init__(self, factor: float) -> None:
        self.total = self.amount * factor
        self.seen = [self.amount]


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    tags: tuple[str, ...]
    me: Self | None = None


@dataclasses.dataclass
class Appending:
    tags: list[str]

    def __post_init__(self) -> None:
        self.tags.append("made")


class AppendingStruct(msgspec.Struct):
    tags: list[str]

    def __post_init__(self) -> None:
        self.tags.append("made")


class Optional(msgspec.Struct):
    size: int | msgspec.UnsetType = 3


@dataclasses.dataclass
class Own:
    raw: int

    def __init__(self, text: str) -> None:
        self.raw = int(text)

    @functools.cached_property
    def lock(self) -> Any:
        return threading.Lock()


@dataclasses.dataclass
class ListLike(list[int]):
    name: str


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self) -> int: ...


@dataclasses.dataclass
class Round(Shape):
    size: int

    def area(self) -> int:
        return 3 * self.size**2


@dataclasses.dataclass
class Drawing:
    shape: Shape


class Sized(Protocol):
    size: int


class Few(Iterable[V], Protocol[V]):
    """Some items."""


@dataclasses.dataclass
class Framed:
    content: Sized
    others: list[Sized] | None = None
    named: dict[str, tuple[Sized, int]] = dataclasses.field(default_factory=dict)


class Op(enum.Enum):
    ITEM = Item("a")
    PAIR = (1, Decimal(2))


class TestFields:
    @pytest.mark.parametrize(
        ("value", "hint"),
        [
            (Computed(2, 1.5), Computed),
            (Frozen(("a",), Frozen(())), Frozen),
            (Appending(["a"]), Appending),
            (AppendingStruct(["a"]), AppendingStruct),
            (Own("3"), Own),
            (Drawing(Round(1)), Drawing),
            (Round(1), Shape),
            (Op.ITEM, Op),
            (Op.PAIR, Op),
            (Optional(), Optional),
        ],
        ids=repr,
    )
    def test_no_constructor_changes_them(self, value: Any, hint: Any) -> None:
        check(value, hint)

    def test_attributes_that_are_no_fields_travel_too(self) -> None:
        value = Computed(2, 1.5)
        value.seen = [1, 2, 3]
        assert vars(arrive(value, Computed)) == {"amount": 2, "total": 3.0, "seen": [1, 2, 3]}
        vars(value)["lock"] = threading.Lock()
        refuse(value, Computed, r"^it at \.lock: object of type _thread.lock is not plain data")

    def test_what_a_property_has_cached_stays_here(self) -> None:
        value = Own("3")
        assert value.lock
        assert vars(arrive(value, Own)) == {"raw": 3}

    def test_an_unset_field_with_another_default(self) -> None:
        refuse(Optional(size=msgspec.UNSET), Optional, r"^it at \.size: ")

    def test_a_class_in_a_field_that_does_not_name_it(self) -> None:
        check(Free({"a": (1, 2)}), Free)
        refuse(Free(Item("a")), Free, r"^it at \.anything: .*Annotate the field")
        refuse(Free([Color.RED]), Free, r"^it at \.anything: .*Annotate the field")
        got = arrive(Free(Item("a")), Free, PICKLING)
        assert got == Free(Item("a"))

    @pytest.mark.parametrize(
        ("value", "hint"),
        [
            (Page("red"), Page[Color]),
            (Page("red", [Color.RED, "blue"]), Page[Color]),
            (Page({"sku": "a"}, [{"sku": "a", "count": 2}]), Page[Item]),  # type: ignore[misc]  # it holds what it should not
            (Page({"red": Color.RED, Color.RED: "red"}), Page[dict[Color, Color]]),
            (Page(("red", {"sku": "a"})), Page[tuple[Color, Item]]),
            (Page({"item": {"sku": "a"}, "n": 1}), Page[Row]),
            (Page("red"), Page[Color | None]),
            (Page((1,)), Page[Left]),
            (StructPage("red", [Color.RED]), StructPage[Color]),  # type: ignore[misc]
            (TuplePage("red", [{"sku": "a"}, Color.RED]), TuplePage[Color]),
            (Drawing({"size": 1}), Drawing),
            (Items({"sku": "a"}), Page[Item]),
        ],
        ids=repr,
    )
    def test_raw_data_stays_raw_where_a_class_is_annotated(self, value: Any, hint: Any) -> None:
        got = arrive(value, hint)
        assert type(got) is type(value)
        assert got == value
        assert repr(got) == repr(value)

    def test_raw_data_in_a_field_that_a_value_lacks_defaults_for(self) -> None:
        data = CODEC.encode_value(Items("red", [])).replace(b"more", b"less")
        assert CODEC.decode_value(data, Items) == Items("red", [])

    def test_raw_data_of_other_clients_becomes_the_class_on_all_levels(self) -> None:
        raw = {"first": {"first": "red", "rest": ["blue"]}}
        expected = Page(Page(Color.RED, [Color.BLUE]))
        assert CODEC.decode_value(CODEC.encode_value(raw), Page[Page[Color]]) == expected

    def test_a_protocol(self) -> None:
        """It names no class, so no instance can be rebuilt, and plain data is as it was."""
        for value in ("text", [1], {"size": 1}, None):
            check(value, Sized | None)
            check(value, Sized)
            check(Framed(value), Framed)
        refuse(Round(1), Sized, r"Round was sent, where .*Sized does not .* it is a Protocol")
        refuse([Round(1)], list[Sized], r"^it at \[0\]: a .*Round was sent.* it is a Protocol")
        refuse(Round(1), Sized | None, r"Round was sent")
        refuse(Round(1), SupportsInt, r"Round was sent")
        refuse(Framed(Round(1)), Framed, r"^it at \.content: .*Annotate the field")
        refuse(Framed(1, [Round(1)]), Framed, r"^it at \.others: .*Annotate the field")
        framed = Framed(Round(1), [Round(2)], {"a": (Round(3), 1)})
        assert arrive(framed, Framed, PICKLING) == framed
        check([Round(1)], Few[Round])
        with pytest.raises(DecodingError, match=r"Round was sent.* it is a Protocol"):
            CODEC.decode_value(CODEC.encode_value(Round(1)), Sized)

    def test_a_container_with_fields(self) -> None:
        refuse(ListLike("a"), ListLike, "is not plain data")

    def test_fields_gain_defaults(self) -> None:
        data = CODEC.encode_value(Free("a")).replace(b"text", b"past")
        assert CODEC.decode_value(data, Free) == Free("a")
        data = CODEC.encode_value(Left(1))
        assert CODEC.decode_value(CODEC.encode_value((1,)), Left) == CODEC.decode_value(data, Left)
