"""Arguments by schema: from annotations to the values that a function gets from JSON."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import inspect
import json
import typing
import uuid
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.edge.native.problems import Problem
from understudy.edge.native.schemas import FunctionSchema
from understudy.values import schemas
from understudy.values.schemas import SchemaMaker, function_schema


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Item:
    name: str
    price: decimal.Decimal
    due: dt.datetime | None = None
    parts: list[Item] = dataclasses.field(default_factory=list)


class Most(typing.TypedDict):
    most: int


class Limits(Most, total=False):
    least: int


class Point(typing.NamedTuple):
    x: int
    y: int = 0


class Order(msgspec.Struct):
    id: uuid.UUID
    note: str = ""


class Account(pydantic.BaseModel):
    owner: str
    opened: dt.date


class Odd:
    """A class that nothing is known about."""


def schema_of(fn: Any) -> FunctionSchema:
    parameters = list(inspect.signature(fn).parameters.values())[1:]
    return FunctionSchema(function_schema(fn, parameters, None))


def given_to(fn: Any, *args: Any, **kwargs: Any) -> Any:
    """Return what a function gets as its only argument, or all of them."""
    args, kwargs = schema_of(fn).arguments((args, kwargs))
    both = (*args, *kwargs.values())
    return both[0] if len(both) == 1 else both


def refused(fn: Any, *args: Any, **kwargs: Any) -> tuple[str, str]:
    """Return the field and the text of the problem of these arguments."""
    with pytest.raises(Problem) as raised:
        schema_of(fn).arguments((args, kwargs))
    assert raised.value.status == 422
    return raised.value.more["field"], raised.value.detail


# Schemas -----------------------------------------------------------------------------------------

ANYTHING: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (int, {"type": "integer"}),
        (float | None, {"anyOf": [{"type": "number"}, {"type": "null"}]}),
        (bytes, {"type": "string", "contentEncoding": "base64"}),
        (dt.datetime, {"type": "string", "format": "date-time"}),
        (dt.timedelta, {"type": "string", "format": "duration"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (typing.Sequence[str], {"type": "array", "items": {"type": "string"}}),
        (dict[str, bool], {"type": "object", "additionalProperties": {"type": "boolean"}}),
        (typing.Literal["a", 1], {"enum": ["a", 1]}),
        (typing.Annotated[str, "whatever"], {"type": "string"}),
        (typing.NewType("Name", str), {"type": "string"}),
        (Any, ANYTHING),
        (object, ANYTHING),
        (Odd, ANYTHING),
        (Odd | int, ANYTHING),
        (complex, ANYTHING),
        (typing.Callable[[int], int], ANYTHING),
        (typing.TypeVar("T"), {"type": "null"}),
        ("no hint at all", ANYTHING),
    ],
)
def test_the_schema_of_an_annotation(hint: Any, schema: dict[str, Any]) -> None:
    assert SchemaMaker().schema(hint) == schema


def test_the_schema_of_classes() -> None:
    maker = SchemaMaker()
    assert maker.schema(Item) == {"$ref": "#/$defs/Item"}
    assert maker.definitions["Item"] == {
        "title": "Item",
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "price": {"type": ["string", "number"], "format": "decimal"},
            "due": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
        },
        "required": ["name", "price"],
    }
    assert maker.schema(Color | None)["anyOf"] == [{"$ref": "#/$defs/Color"}, {"type": "null"}]
    assert maker.definitions["Color"] == {"title": "Color", "enum": ["red", "blue"]}
    maker.schema(Limits)
    assert maker.definitions["Limits"]["required"] == ["most"]
    maker.schema(Account)
    assert maker.definitions["Account"]["properties"]["opened"]["format"] == "date"


def test_the_schema_of_a_function() -> None:
    def pay(ctx: Any, amount: int, *notes: str, currency: str = "EUR", **more: float) -> None:
        """Pay an amount.

        Twice, if need be.
        """

    assert schema_of(pay).data == {
        "arguments": {
            "type": "object",
            "properties": {
                "amount": {"type": "integer"},
                "currency": {"type": "string", "default": "EUR"},
            },
            "required": ["amount"],
            "additionalProperties": {"type": "number"},
        },
        "positional": ["amount"],
        "rest": {"type": "string"},
        "result": {},
        "description": "Pay an amount.",
    }


def test_what_is_too_long_or_cannot_be_said_is_anything() -> None:
    def long(ctx: Any, choice: Any) -> None: ...

    long.__annotations__["choice"] = typing.Literal[tuple(f"choice {n}" for n in range(5000))]
    parameters = list(inspect.signature(long).parameters.values())[1:]
    assert function_schema(long, parameters, None) == "{}"

    def unknown(ctx: Any, a: NoSuchClass) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert schema_of(unknown).data["arguments"]["properties"] == {"a": {}}
    deep: Any = int
    for _ in range(schemas.DEPTH_MAX + 5):
        deep = list[deep]
    assert "integer" not in json.dumps(SchemaMaker().schema(deep))


# Arguments ---------------------------------------------------------------------------------------


def test_values_that_json_has_no_form_for() -> None:
    def at(ctx: Any, when: dt.datetime) -> None: ...
    def on(ctx: Any, day: dt.date | None) -> None: ...
    def during(ctx: Any, time: dt.timedelta) -> None: ...
    def find(ctx: Any, id: uuid.UUID) -> None: ...
    def pay(ctx: Any, amount: decimal.Decimal) -> None: ...
    def save(ctx: Any, data: bytes) -> None: ...
    def pair(ctx: Any, both: tuple[int, dt.date]) -> None: ...
    def unique(ctx: Any, ids: set[int]) -> None: ...
    def by_number(ctx: Any, names: dict[int, dt.date]) -> None: ...
    def whole(ctx: Any, number: int) -> None: ...

    day = dt.date(2026, 1, 2)
    assert given_to(at, "2026-01-02T03:04:05Z") == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert given_to(on, day="2026-01-02") == day
    assert given_to(on, None) is None
    assert given_to(during, "PT90S") == dt.timedelta(seconds=90)
    assert given_to(find, "1" * 32) == uuid.UUID("1" * 32)
    assert given_to(pay, "1.50") == decimal.Decimal("1.50")
    assert given_to(pay, 1.5) == decimal.Decimal("1.5")
    assert given_to(save, "YWI=") == b"ab"
    assert given_to(pair, [1, "2026-01-02"]) == (1, day)
    assert given_to(unique, [3, 1]) == {1, 3}
    assert given_to(by_number, {"7": "2026-01-02"}) == {7: day}
    assert type(given_to(whole, 1.0)) is int


def test_fields_of_classes() -> None:
    def buy(ctx: Any, item: Item) -> None: ...
    def limit(ctx: Any, limits: Limits, point: Point) -> None: ...
    def either(ctx: Any, what: Item | dt.date | str) -> None: ...

    item = {"name": "a", "price": "1.5", "parts": [{"name": "b", "price": 2, "due": None}]}
    built = given_to(buy, item)
    assert built["price"] == decimal.Decimal("1.5")
    assert built["parts"][0]["price"] == decimal.Decimal(2)
    assert given_to(limit, {"most": 1}, [1]) == ({"most": 1}, [1])
    assert given_to(either, "2026-01-02") == dt.date(2026, 1, 2)
    assert given_to(either, "tomorrow") == "tomorrow"
    assert given_to(either, item)["price"] == decimal.Decimal("1.5")


def test_problems_name_the_field() -> None:
    def buy(ctx: Any, item: Item, color: Color = Color.RED, *rest: int) -> None: ...

    good = {"name": "a", "price": "1.5"}
    assert refused(buy) == ("", "the argument 'item' is missing")
    assert refused(buy, good, colour="red") == (
        "/colour",
        "/colour: the function has no argument 'colour'; similar: color",
    )
    assert refused(buy, item=7)[0] == "/item"
    assert refused(buy, {"name": 1, "price": "1"}) == (
        "/item/name",
        "/item/name: 1 is not of type 'string'",
    )
    assert refused(buy, {"name": "a"}) == ("/item", "/item: the field 'price' is missing")
    assert refused(buy, good | {"price": "x"}) == ("/item/price", "/item/price: 'x' is no decimal")
    assert refused(buy, good | {"due": "soon"})[0] == "/item/due"
    assert refused(buy, good | {"parts": [good, {"name": []}]})[0].startswith("/item/parts/1")
    assert refused(buy, good, "green")[0] == "/color"
    assert refused(buy, good, "red", 1, "x")[0] == "/3"

    def none(ctx: Any) -> None: ...

    field, text = refused(none, 1)
    assert (field, text.partition(": ")[2]) == (
        "/0",
        "there are 1 arguments by position, and the function takes 0: none",
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, JSON)
def test_no_schema_of_a_node_does_harm(schema: Any, value: Any) -> None:
    for data in (schema, {"arguments": schema}, {"arguments": {"properties": {"a": schema}}}):
        made = FunctionSchema(json.dumps(data))
        try:
            made.arguments(((), {"a": value}))
        except Problem as problem:
            assert problem.status == 422  # noqa: PT017


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        '{"arguments": {"$ref": "http://127.0.0.1:1/schema"}}',
        (
            '{"arguments": {"properties": {"a": {"$ref": "#/$defs/A"}}},'
            ' "$defs": {"A": {"$ref": "#/$defs/A"}}}'
        ),
        '{"arguments": {"properties": {"a": {"pattern": "("}}}}',
        '{"arguments": {"type": "nonsense"}}',
    ],
)
def test_a_schema_that_is_none_checks_nothing(text: str) -> None:
    assert FunctionSchema(text).arguments(((), {"a": "x"})) == ((), {"a": "x"})


#: keywords, each with values that it may have, and some that it may not
KEYWORDS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "array", "object", "nonsense", 3, ["null"]]),
        "format": st.sampled_from(["date", "uuid", "decimal", "nonsense", 3]),
        "pattern": st.sampled_from(["a*", "(", 3]),
        "x-python": st.sampled_from(["set", "tuple", "integer-keys", 3]),
        "contentEncoding": st.sampled_from(["base64", 3]),
        "$ref": st.sampled_from(["#/$defs/A", "#/$defs/B", "#/nowhere", "http://[", "", 3]),
        "enum": st.sampled_from([[1], "x", 3]),
        "multipleOf": st.sampled_from([2, 0, 1e-300, "x"]),
    },
)
SCHEMAS = st.recursive(
    st.one_of(st.booleans(), st.integers(), KEYWORDS),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from(["a", "b"]), inner),
            "additionalProperties": inner,
            "items": inner,
            "prefixItems": st.lists(inner, max_size=2),
            "anyOf": st.lists(inner, max_size=2),
            "oneOf": inner,
        },
    ),
    max_leaves=6,
)
DATA = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "1"]), inner)
    ),
    max_leaves=4,
)


@given(
    whole=st.fixed_dictionaries(
        {
            "arguments": st.fixed_dictionaries(
                {"properties": st.dictionaries(st.just("a"), SCHEMAS)}
            )
        },
        optional={
            "rest": SCHEMAS,
            "positional": st.sampled_from([["a"], 3]),
            "$defs": st.dictionaries(st.sampled_from("AB"), SCHEMAS),
        },
    ),
    args=st.lists(DATA, max_size=2),
    value=DATA,
)
def test_a_schema_may_be_anything(whole: Any, args: list[Any], value: Any) -> None:
    with contextlib.suppress(Problem):
        FunctionSchema(json.dumps(whole)).arguments((tuple(args), {"a": value}))


def test_neither_a_schema_nor_a_value_keeps_an_edge_busy() -> None:
    """Each of these took from seconds to minutes, in which an edge answered nobody."""
    numbers = {"type": "array", "uniqueItems": True, "x-python": "set"}
    properties = {
        "numbers": numbers,
        "lists": {"type": "array", "uniqueItems": True},
        "by_number": {"type": "object", "x-python": "integer-keys"},
        "text": {"type": "string", "pattern": "^(a+)+$"},
        "names": {"type": "object", "patternProperties": {"^(a+)+$": {}}},
    }
    arguments = {"type": "object", "properties": properties}
    schema = FunctionSchema(json.dumps({"arguments": arguments, "positional": [*properties]}))
    bomb = [number * ((1 << 61) - 1) for number in range(1, 20_000)]
    for name, value in (("numbers", bomb), ("by_number", {str(each): 1 for each in bomb})):
        with pytest.raises(Problem, match="same hash"):
            schema.arguments(((), {name: value}))
    with pytest.raises(Problem, match="items are equal"):
        schema.arguments(((), {"lists": [[n, {}] for n in range(20_000)] + [[7, {}]]}))
    slow = "a" * 50 + "!"
    passed = ((), {"text": slow, "names": {slow: 1}, "numbers": [1, 2.5, 3]})
    assert schema.arguments(passed) == ((), passed[1] | {"numbers": {1, 2.5, 3}})


@pytest.mark.parametrize(
    ("hint", "item", "made"),
    [
        (int, 1, 1),
        (int, 2.0, 2),
        (float, 1.5, 1.5),
        (str, "a", "a"),
        (int | None, 2.0, 2),
        (float | int, 2.0, 2.0),
        (str | None, "a", "a"),
        (dt.date, "2026-01-31", dt.date(2026, 1, 31)),
        (bytes, "AQ==", b"\1"),
        (decimal.Decimal, "1.5", decimal.Decimal("1.5")),
        (decimal.Decimal, 1.5, decimal.Decimal("1.5")),
        (Any, [], []),
    ],
)
def test_lists_and_objects_of_one_type_may_be_as_long_as_a_body(
    hint: Any, item: Any, made: Any
) -> None:
    """Each of their items would take a step or more, of which there are not so many."""
    many = 300_000

    def lists(ctx: Any, x: Any, *rest: Any) -> None: ...

    lists.__annotations__ = {"x": list[hint] | None, "rest": hint}
    got, *rest = given_to(lists, [item] * many, *[item] * many)
    assert got == rest == [made] * many
    assert {*map(type, got), *map(type, rest)} == {type(made)}

    def objects(ctx: Any, x: Any) -> None: ...

    objects.__annotations__ = {"x": dict[int, hint]}
    assert given_to(objects, {str(n): item for n in range(many)}) == dict.fromkeys(
        range(many), made
    )


def test_a_failure_among_many_has_its_place() -> None:
    def pay(ctx: Any, days: list[dt.date], *rest: int) -> None: ...

    days = ["2026-01-31"] * 1_000
    assert refused(pay, [*days, "soon"]) == ("/days/1000", "/days/1000: 'soon' is no date")
    assert refused(pay, days, 1, 2, "x")[0] == "/3"


def test_the_steps_of_a_request_are_bounded() -> None:
    def pay(ctx: Any, items: list[list[int]] | list[Item] | None) -> None: ...

    def refusal(schema: FunctionSchema, value: Any) -> Problem:
        with pytest.raises(Problem) as raised:
            schema.arguments(((value,), {}))
        return raised.value

    honest = [{"name": "a", "price": "1.5"}] * 5_000
    assert len(given_to(pay, honest)) == 5_000
    problem = refusal(schema_of(pay), [[]] * 200_000)
    assert problem.status == 413
    assert "steps" in problem.detail
    fan: dict[str, Any] = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)
    }
    whole = {
        "$defs": fan | {"d60": {}},
        "arguments": {"properties": {"x": {"$ref": "#/$defs/d0"}}},
        "positional": ["x"],
    }
    assert refusal(FunctionSchema(json.dumps(whole)), 1).status == 413
    # Conversion follows members of unions that are in each other.
    union: dict[str, Any] = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}]} for n in range(60)}
    whole["$defs"] = union | {"d60": {"type": "array", "items": {"minLength": 0}}}
    assert refusal(FunctionSchema(json.dumps(whole)), ["a"] * 10_000).status == 413


def test_names_and_values_are_shown_in_short() -> None:
    def buy(ctx: Any, item: Item) -> None: ...

    long = "x" * 5_800_000
    for field, text in (
        refused(buy, **{long: 1}),
        refused(buy, {"name": "a", "price": long}),
        refused(buy, {"name": "a", "price": "1", "parts": [long]}),
    ):
        assert len(field) <= 1_001
        assert len(text) < 2_000
