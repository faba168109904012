"""Classes are rebuilt if an annotation names them."""

from __future__ import annotations

import functools
from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

import pydantic
import pytest

from tests.unit.sdk.values.samples import (
    CODEC,
    ITEMS,
    Access,
    Address,
    Animal,
    Cat,
    Color,
    Dog,
    Item,
    ItemId,
    Level,
    Order,
    Pair,
    Person,
    Point,
    Row,
    Spot,
    Tags,
    round_trip,
    same,
)
from understudy.errors import DecodingError, EncodingError
from understudy.values import CallTypes


class TestHints:
    @pytest.mark.parametrize(
        ("value", "hint"),
        [
            (Color.RED, Color),
            (Level.LOW, Level),
            (Access.READ | Access.WRITE, Access),
            (Item("a"), Item),
            (ITEMS, list[Item]),
            ((ITEMS[0], 1, "x"), tuple[Item, int, str]),
            (tuple(ITEMS), tuple[Item, ...]),
            ({"k": Item("a")}, dict[str, Item]),
            ({Color.RED: [Level.LOW]}, dict[Color, list[Level]]),
            ({Point(1, 2): Color.BLUE}, dict[Point, Color]),
            ({Point(1, 2), Point(3, 4)}, set[Point]),
            (frozenset({Color.RED}), frozenset[Color]),
            (Item("a"), Item | None),
            (None, Item | None),
            (Dog("d"), Dog | Cat),
            (Cat("c"), Dog | Cat),
            (Cat("c"), Animal),
            ([Cat("c"), Dog("d"), None], list[Animal | None]),
            ("red", Color | str),
            (Color.RED, str | Color),
            (Level.LOW, int | Level),
            (1, int | Level),
            ({"sku": "a"}, Item | dict[str, str]),
            (Item("a"), Annotated[Item, ["not hashable"]]),
            (Item("a"), ItemId),
            (Color.RED, Literal[Color.RED, "x"]),
            ("x", Literal[Color.RED, "x"]),
            (Spot(Point(1, 2), Color.RED), Spot),
            ({"item": Item("a"), "n": 1}, Row),
            (Pair(Item("a"), Pair(Item("b"), size=4)), Pair),
            (Person(fullName="A", addresses=[Address(street="s")], color=Color.BLUE), Person),
            (Address(street="s", site=pydantic.HttpUrl("https://example.org/x")), Address),
            (Person(fullName="B", born=date(2000, 1, 2)), Person | None),
            (Tags(["a", "b"]), Tags),
            (
                Order(UUID(int=1), ITEMS, {Color.RED: {Level.LOW}}, Cat("c"), None),
                Order,
            ),
            (
                Order(UUID(int=1), [], {}, None, Order(UUID(int=2), ITEMS, {}, Dog("d"))),
                Order,
            ),
        ],
        ids=repr,
    )
    def test_classes_are_rebuilt(self, value: Any, hint: Any) -> None:
        got = round_trip(value, hint)
        assert got == value
        assert type(got) is type(value)
        assert repr(got) == repr(value) or isinstance(value, set)

    @pytest.mark.parametrize(
        ("value", "raw"),
        [
            (Color.RED, "red"),
            (Item("a"), {"sku": "a", "count": 1}),
            ([Point(1, 2), Color.RED], [{"x": 1, "y": 2}, "red"]),
            (Address(street="s"), {"street": "s", "site": None}),
            (Pair(Item("a")), {"left": {"sku": "a", "count": 1}, "right": None}),
            (Spot(Point(1, 2), Color.RED), ({"x": 1, "y": 2}, "red")),
        ],
        ids=repr,
    )
    def test_without_a_hint_classes_are_read_as_raw_values(self, value: Any, raw: Any) -> None:
        for hint in (None, Any, int, "Item", list[str]):
            assert same(round_trip(value, hint), raw)

    def test_dicts_of_other_clients_are_rebuilt_too(self) -> None:
        assert round_trip({"sku": "a", "news": 1}, Item) == Item("a", 1)
        assert round_trip("blue", Color | None) is Color.BLUE
        assert round_trip({"fullName": "A"}, Person) == Person(fullName="A")

    def test_hints_do_not_validate(self) -> None:
        assert round_trip("text", int) == "text"
        assert round_trip(3, Item) == 3
        assert round_trip([1, "x"], list[Item]) == [1, "x"]

    def test_a_computed_field_does_not_replace_the_value_that_was_sent(self) -> None:
        order = Order(UUID(int=1), ITEMS, {})
        order.total = 99
        assert round_trip(order, Order).total == 99

    @pytest.mark.parametrize(
        ("value", "hint", "message"),
        [
            ({"count": 1}, Item, r"the value: cannot be made a .*Item: .*'sku'"),
            ("green", Color, r"the value: 'green' is no value of .*Color"),
            ([{"x": 1}], list[Point], r"the value at \[0\]: cannot be made a .*Point"),
            ({"k": [{}]}, dict[str, list[Item]], r"the value at \['k'\]\[0\]: .*Item"),
            ((1, 2, 3), tuple[Item, int], "3 items where"),
            ({"fullName": 3}, Person, r"cannot be made a .*Person"),
        ],
    )
    def test_a_mismatch_names_the_place(self, value: Any, hint: Any, message: str) -> None:
        with pytest.raises(DecodingError, match=message):
            round_trip(value, hint)

    def test_records_that_need_a_hash_need_a_hint(self) -> None:
        with pytest.raises(DecodingError, match="Annotate"):
            round_trip({Point(1, 2)})

    def test_arguments_are_rebuilt_by_the_functions_annotations(self) -> None:
        def f(
            ctx: Any, a: Item, b: int, *rest: Color, c: Point | None = None, **others: Cat
        ) -> None:
            raise AssertionError("never called: only its signature is read")

        types = CallTypes.of(f)
        args = (Item("a"), 2, Color.RED, Color.BLUE)
        kwargs = {"c": Point(1, 2), "d": Cat("d")}
        data = CODEC.encode_call(args, kwargs, types.names)
        assert CODEC.decode_call(data, types) == (args, kwargs)
        assert types.names == ("a", "b")

    def test_a_mismatch_names_the_argument(self) -> None:
        def f(ctx: Any, order: list[Point]) -> None:
            raise AssertionError("never called: only its signature is read")

        data = CODEC.encode_call(([{"x": 1}],), {})
        with pytest.raises(DecodingError, match=r"^argument 1 \('order'\) at order\[0\]: "):
            CODEC.decode_call(data, CallTypes.of(f))

    def test_an_annotation_that_cannot_be_resolved_does_not_spoil_the_others(self) -> None:
        def f(ctx: Any, a: Nowhere, b: Item) -> None:  # type: ignore[name-defined]  # noqa: F821
            raise AssertionError("never called: only its signature is read")

        types = CallTypes.of(functools.partial(f))
        args, _ = CODEC.decode_call(CODEC.encode_call(({"sku": "a"}, Item("b")), {}), types)
        assert args == ({"sku": "a"}, Item("b"))
        with pytest.raises(EncodingError, match=r"argument 1 .*'Nowhere'.* is not defined"):
            CODEC.encode_call((Item("a"), Item("b")), {}, types.names, types)
        with pytest.raises(DecodingError, match=r"argument 1 .*'Nowhere'.* is not defined"):
            CODEC.decode_call(CODEC.encode_call((Item("a"), Item("b")), {}), types)
