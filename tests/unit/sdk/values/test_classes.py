"""Instances of classes arrive whole and of their own class, or are refused where they are sent."""

# Types are made of values here, which a type checker cannot follow.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar

import msgspec
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings

from tests.unit.sdk.values.arrival import arrive, check, refuse
from tests.unit.sdk.values.classes import (
    BILLING,
    SHIPPING,
    Circle,
    Free,
    Items,
    Left,
    Page,
    Right,
    Square,
    StructPage,
    Titled,
    TuplePage,
)
from tests.unit.sdk.values.samples import CODEC, Color, Item, Level, Point
from tests.unit.sdk.values.typed_values import same_types, types_and_values
from understudy.errors import DecodingError, EncodingError
from understudy.values import CallTypes

if TYPE_CHECKING:
    from tests.unit.sdk.values.samples import Cat, Dog

T = TypeVar("T")


class DictPage(TypedDict, Generic[T]):
    first: T


class DictItems(DictPage[Item]):
    last: Item


class ModelPage(pydantic.BaseModel, Generic[T]):
    first: T
    rest: list[T] = []


class TestGenerics:
    @pytest.mark.parametrize(
        ("value", "hint"),
        [
            (Page(Item("a"), [Item("b")]), Page[Item]),
            (Page(Page(Item("a"))), Page[Page[Item]]),
            (Page({Color.RED: Item("a")}), Page[dict[Color, Item]]),
            (Page[Item | None](None, [Item("a")]), Page[Item | None]),
            (Items(Item("a"), [Item("b")], 3), Items),
            (Items(Item("a"), [Item("b")], 3), Page[Item]),
            (Titled(Item("a"), [], Item("b")), Page[Item]),
            (StructPage(Item("a"), [Item("b")]), StructPage[Item]),
            (TuplePage(Item("a"), [Item("b")]), TuplePage[Item]),
            ({"first": Item("a")}, DictPage[Item]),
            ({"first": Item("a"), "last": Item("b")}, DictItems),
            (ModelPage[Item](first=Item("a")), ModelPage[Item]),
            (ModelPage(first=Item("a")), ModelPage[Item]),
        ],
        ids=repr,
    )
    def test_fields_have_the_types_of_the_parameters(self, value: Any, hint: Any) -> None:
        check(value, hint)

    def test_without_parameters_only_plain_data_is_kept(self) -> None:
        check(Page(1, [2]), Page)
        refuse(Page(Item("a")), Page, r"^it at \.first: .*Item")
        refuse(ModelPage(first=Item("a")), ModelPage, r"^it at \.first: .*Item")
        refuse({"first": Item("a"), "last": Item("b")}, DictPage[Item], r"^it at \.last: .*Item")


class TestUnions:
    @pytest.mark.parametrize(
        ("value", "hint"),
        [
            (Right(1), Left | Right),
            ([Right(1)], list[Left] | list[Right]),
            (Square(1), Circle | Square),
            (SHIPPING.Line(1), BILLING.Line | SHIPPING.Line),
            (SHIPPING.State.OPEN, BILLING.State | SHIPPING.State),
            (SHIPPING.Spot(1), BILLING.Spot | SHIPPING.Spot),
            ([SHIPPING.Line(1)], list[BILLING.Line] | list[SHIPPING.Line]),
            ({"a": SHIPPING.State.OPEN}, dict[str, BILLING.State | SHIPPING.State]),
            ([Color.RED], list[str] | list[Color]),
        ],
        ids=repr,
    )
    def test_the_name_tells_the_members_apart(self, value: Any, hint: Any) -> None:
        check(value, hint)

    def test_a_class_that_the_annotation_does_not_name(self) -> None:
        refuse(SHIPPING.Line(1), BILLING.Line, "twin_of_shipping.Line was sent")
        refuse(SHIPPING.State.OPEN, BILLING.State, "twin_of_shipping.State was sent")
        refuse([Point(1, 2)], list[Item], r"^it at \[0\]: a .*Point was sent")
        refuse(Point(1, 2), Item | None, r"Point was sent")
        with pytest.raises(DecodingError, match=r"Point was sent"):
            CODEC.decode_value(CODEC.encode_value(Point(1, 2)), Item)

    def test_a_class_of_another_program_with_the_same_name(self) -> None:
        data = CODEC.encode_value(Item("a"))
        for module in (b"__main__", b"client.models"):
            name = module + b":Item"
            there = data.replace(b"tests.unit.sdk.values.samples:Item", name)
            there = there.replace(data[:3], bytes([0xC7, len(there) - 3, 13]))
            inner = there[3:]
            size = inner.index(b"tests") if b"tests" in inner else inner.index(name)
            fixed = inner[: size - 2] + bytes([0xA0 | len(name)]) + inner[size:]
            data_there = bytes([0xC7, len(fixed), 13]) + fixed
            assert CODEC.decode_value(data_there, Item) == Item("a")

    def test_a_subclass_that_is_not_imported_is_an_error(self) -> None:
        data = CODEC.encode_value(Items(Item("a"))).replace(b":Items", b":Itons")
        with pytest.raises(DecodingError, match="nor a subclass of it that this process has imp"):
            CODEC.decode_value(data, Page[Item])


class TestOldStores:
    @pytest.mark.parametrize(
        ("code", "name", "raw", "hint", "value"),
        [
            (13, "Item", {"sku": "a", "count": 2}, Item, Item("a", 2)),
            (13, "Renamed", {"sku": "a"}, Item, Item("a")),
            (13, "Items", {"first": {"sku": "a"}}, Page[Item], Items(Item("a"))),
            (13, "Square", {"size": 1}, Circle | Square, Square(1)),
            (12, "Color", "red", Color | Level, Color.RED),
            (13, "Free", {"anything": {"sku": "a"}}, Free, Free({"sku": "a"})),
        ],
        ids=str,
    )
    def test_names_without_modules(
        self, code: int, name: str, raw: Any, hint: Any, value: Any
    ) -> None:
        inner = msgspec.msgpack.encode([name, raw])
        data = msgspec.msgpack.encode(msgspec.msgpack.Ext(code, inner))
        assert CODEC.decode_value(data, hint) == value

    def test_named_tuples(self) -> None:
        assert CODEC.decode_value(CODEC.encode_value((1,)), Left) == Left(1)
        assert type(CODEC.decode_value(CODEC.encode_value((1,)), Left)) is Left


class TestArguments:
    def test_names_that_only_a_type_checker_imports(self) -> None:
        from tests.unit.sdk.values import samples

        def feed(ctx: Any, pet: Dog | Cat, others: list[Dog]) -> None:
            raise AssertionError("never called: only its signature is read")

        types_of_feed = CallTypes.of(feed)
        args = (samples.Cat("c"), [samples.Dog("d")])
        data = CODEC.encode_call(args, {}, types_of_feed.names, types_of_feed)
        assert CODEC.decode_call(data, types_of_feed) == (args, {})

    def test_an_argument_of_another_class_is_refused(self) -> None:
        def pack(ctx: Any, item: Item, *, spots: list[Point] | None = None) -> None:
            raise AssertionError("never called: only its signature is read")

        known = CallTypes.of(pack)
        with pytest.raises(EncodingError, match=r"^argument 1 \('item'\): a .*Point was sent"):
            CODEC.encode_call((Point(1, 2),), {}, known.names, known)
        with pytest.raises(EncodingError, match=r"^argument 'spots' at spots\[0\]: a .*Item was"):
            CODEC.encode_call((Item("a"),), {"spots": [Item("a")]}, known.names, known)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(types_and_values)
def test_any_value_of_any_type(drawn: tuple[Any, Any]) -> None:
    hint, value = drawn
    got = arrive(value, hint)
    assert got == value
    assert same_types(got, value)
    # Whoever passes it on, or replays, sends the same bytes.
    assert CODEC.encode_value(got) == CODEC.encode_value(value)
