"""Checks of JSON by a schema: they find what jsonschema finds, in a bounded number of steps."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from understudy.edge.native.checks import (
    STEPS_MAX,
    Check,
    Definitions,
    Failure,
    Steps,
    TooManyStepsError,
    UnknownReferenceError,
    shown,
)

NAMES = ("a", "b", "c")
TYPES = ("integer", "number", "string", "boolean", "null", "array", "object")
COUNTS = (
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "minProperties", "maxProperties"),
)
NOTHING: dict[str, Any] = {}


def value_of(chance: Random, levels: int = 3) -> Any:
    kind = chance.randrange(4) if levels else 0
    if kind < 2:
        return chance.choice([None, True, False, -1, 0, 1, 2, 3, 0.5, 1.0, -2.0, "", *NAMES])
    inner = [value_of(chance, levels - 1) for _ in range(chance.randrange(4))]
    return inner if kind == 2 else dict(zip(NAMES, inner, strict=False))


def schema_of(chance: Random, levels: int = 3) -> Any:
    if not levels or chance.random() < 0.2:
        return chance.choice([True, False, {}, *({"type": name} for name in TYPES)])

    def inner() -> Any:
        return schema_of(chance, levels - 1)

    def some() -> Any:
        return [inner() for _ in range(chance.randrange(1, 4))]

    def names() -> Any:
        return chance.sample(NAMES, chance.randrange(1, 3))

    makers: dict[str, Any] = {
        "type": lambda: chance.choice([chance.choice(TYPES), chance.sample(TYPES, 2)]),
        "properties": lambda: {name: inner() for name in names()},
        "required": names,
        "enum": lambda: [value_of(chance, 1) for _ in range(3)],
        "const": lambda: value_of(chance, 2),
        "multipleOf": lambda: chance.choice([1, 2, 0.5]),
        "title": lambda: "a title",
        **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), some),
        **dict.fromkeys(("not", "if", "then", "else", "propertyNames"), inner),
        **dict.fromkeys(("items", "additionalProperties"), inner),
        **dict.fromkeys(COUNTS, lambda: chance.randrange(4)),
    }
    chosen = chance.sample([*makers], chance.randrange(1, 4))
    return {keyword: makers[keyword]() for keyword in chosen}


def failure(schema: Any, value: Any, **definitions: Any) -> Failure | None:
    return Check(Definitions(definitions), Steps()).failure(schema, value)


def steps_of(schema: Any, value: Any, **definitions: Any) -> int:
    """Return how many steps a check takes; raises `TooManyStepsError`."""
    steps = Steps()
    Check(Definitions(definitions), steps).failure(schema, value)
    return STEPS_MAX - steps.left


@pytest.mark.parametrize("seed", range(10))
def test_it_finds_what_jsonschema_finds(seed: int) -> None:
    chance = Random(seed)
    for _ in range(100):
        schema = schema_of(chance)
        reference = Draft202012Validator(schema)
        for _ in range(3):
            value = value_of(chance)
            found = failure(schema, value)
            assert (found is None) == reference.is_valid(value), (schema, value)
            assert found is None or found.text()


@pytest.mark.parametrize(
    ("schema", "value", "is_fit"),
    [
        ({"type": "integer"}, [1, 2], True),
        ({"type": "integer"}, [1, 2.0], True),
        ({"type": "integer"}, [1, 2.5], False),
        ({"type": "integer"}, [1, True], False),
        ({"type": "number"}, [1, 2.5], True),
        ({"type": ["string", "null"]}, ["a", None], True),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, [1, None, 2.0], True),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, [1, "a"], False),
        ({"anyOf": [{"type": "integer"}, {"minimum": 1}]}, [1, "a"], True),
        ({"anyOf": [{"type": "integer"}, True]}, ["a"], True),
        ({"type": "integer", "anyOf": [{"type": "string"}]}, [1], False),
        ({"type": "string", "maxLength": 1}, ["aa"], False),
    ],
)
def test_lists_of_one_type(schema: Any, value: list[Any], is_fit: bool) -> None:
    by_name = {str(number): item for number, item in enumerate(value)}
    assert (failure({"items": schema}, value) is None) == is_fit
    assert (failure({"additionalProperties": schema}, by_name) is None) == is_fit
    assert Draft202012Validator({"items": schema}).is_valid(value) == is_fit


def test_lists_and_objects_of_one_type_take_few_steps() -> None:
    many = 300_000
    for kind, value in (("integer", 1), ("string", "a"), ("number", 1.5), ("null", None)):
        assert steps_of({"items": {"type": kind}}, [value] * many) < many // 200
    named = {str(number): 1.5 for number in range(many)}
    assert steps_of({"additionalProperties": {"type": "number"}}, named) < many // 200
    dates = {"type": "string", "format": "date-time"}
    assert steps_of({"items": dates}, ["2026-01-31"] * many) < many // 200
    union = {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]}
    assert steps_of(union, [1] * many) < many // 200


def test_a_check_stops_at_the_first_thing_that_is_wrong() -> None:
    union = {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]}
    bad: list[Any] = [[]] * 200_000
    assert steps_of(union, bad) < 2_000
    found = failure(union, bad)
    assert found is not None
    assert (found.path, found.text()) == ([0], "[] is not of type 'integer'")
    records = {"items": {"properties": {"a": {"type": "integer"}}, "additionalProperties": False}}
    assert steps_of(records, [{"a": []}] * 200_000) < 1_000
    assert steps_of(records, [{"b": 1}] * 200_000) < 1_000


FAN = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)} | {"d60": {}}
NAMED: dict[str, Any] = {"properties": {f"p{number}": {} for number in range(1_000)}}
ENUM = {"enum": [f"p{number}" for number in range(1_000)]}
LONG = {"type": "array", "uniqueItems": True, "minItems": 10**9}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"$ref": "#/$defs/d0"}, 1),
        ({"anyOf": [{"allOf": [{"$ref": "#/$defs/d0"}, False]}, {}]}, 1),
        ({"not": {"not": {"$ref": "#/$defs/d0"}}}, 1),
        ({"items": {"items": {"type": "integer"}}}, [[]] * 300_000),
        ({"items": NAMED}, [{}] * 10_000),
        ({"items": ENUM}, ["p999"] * 10_000),
        ({"items": {"required": ["a"] * 1_000}}, [{"a": 1}] * 10_000),
        ({"anyOf": [LONG] * 200}, [*range(50_000)]),
        ({"anyOf": [LONG] * 200}, [{"a": number} for number in range(50_000)]),
        ({"anyOf": [{"items": {"type": "string"}, "minItems": 10**9}] * 2_000}, ["a"] * 50_000),
    ],
)
def test_the_budget_covers_every_loop(schema: Any, value: Any) -> None:
    with pytest.raises(TooManyStepsError):
        failure(schema, value, **FAN)


def test_references() -> None:
    assert failure({"$ref": "#/$defs/A"}, "a", A={"type": "string"}) is None
    assert failure({"$ref": "#/$defs/A~1B%20"}, 1, **{"A/B ": {"type": "string"}}) is not None
    for reference in ("#/$defs/B", "#/properties/a", "#anchor", "http://127.0.0.1/a"):
        with pytest.raises(UnknownReferenceError):
            failure({"$ref": reference}, 1, A=NOTHING)
    with pytest.raises(RecursionError):
        failure({"$ref": "#/$defs/A"}, 1, A={"$ref": "#/$defs/A"})


def test_what_is_not_checked() -> None:
    """Regular expressions may take minutes; the node checks what they ask for."""
    for keyword in ("pattern", "patternProperties", "$dynamicRef", "dependentSchemas"):
        assert failure({keyword: "^(a+)+$"}, "a" * 50 + "!") is None
    # With another `$schema`, jsonschema would check by all keywords of that one.
    other = {"$schema": "https://json-schema.org/draft/2020-12/schema", "pattern": "^b$"}
    assert failure({"items": other}, ["a"]) is None


def test_values_are_shown_in_short() -> None:
    deep: Any = []
    for _ in range(60):
        deep = [deep] * 60
    for value in ("\U000ed17a" * 500, ["a" * 300] * 300, {"a" * 300: "b"}, deep):
        assert len(shown(value)) < 2_100
    for value in (1, 1.5, None, True, "a", "it's", [1, ["a"]], {"a": {"b": None}}):
        assert shown(value) == repr(value)


def test_what_is_wrong_is_said_in_short() -> None:
    long = "x" * 1_000_000
    for schema, value in (
        ({"type": "integer"}, long),
        ({"enum": ["a", long]}, long + "y"),
        ({"additionalProperties": False}, {long: 1}),
        ({"maxItems": 1}, [long] * 9),
        ({"const": {long: long}}, {long: [[[[long]]]]}),
    ):
        found = failure(schema, value)
        assert found is not None
        assert len(found.text()) < 800
