"""Checks JSON data by the schemas that nodes announce, in a bounded number of steps. Pure.

Strangers choose the data, and a node the schema, while all requests of an edge share one thread. So
a check stops at the first thing that is wrong, makes its text only at the end, passes over lists of
numbers, texts and the like at the speed of C, and has a budget. It knows the keywords that our
schemas have; what others ask for is left to the node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sized
from types import NoneType
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import msgspec

#: Steps for the arguments of one request. A step takes about a microsecond.
STEPS_MAX: Final = 250_000
#: items of one plain type that are passed over in the time of a step
_ITEMS: Final = 256
#: items, names or values that a loop of Python looks at in the time of a step
_LOOKS: Final = 8
#: numbers that are tested for whether they are whole in the time of a step
_FLOATS: Final = 32
#: bytes that are written and compared in the time of a step
_BYTES: Final = 1024

#: characters of a name or value in a message
SHOWN_MAX: Final = 200

_DEFINITIONS: Final = "#/$defs/"
_TYPES: Final[Mapping[str, frozenset[type]]] = {
    "integer": frozenset({int}),
    "number": frozenset({int, float}),
    "string": frozenset({str}),
    "boolean": frozenset({bool}),
    "null": frozenset({NoneType}),
    "array": frozenset({list}),
    "object": frozenset({dict}),
}
#: keywords of a schema that asks for nothing but a type; a format is tested as it is converted
_REMARKS: Final = frozenset(
    {"type", "title", "description", "default", "examples", "format", "contentEncoding"}
)
_SCALARS: Final = frozenset({NoneType, bool, int, float})


class TooManyStepsError(Exception):
    """The budget is spent."""


class UnknownReferenceError(Exception):
    """A reference leads nowhere that is known."""


class Steps:
    """The budget of a request.

    Parameters
    ----------
    most
        How many steps there are.
    """

    def __init__(self, most: int = STEPS_MAX) -> None:
        self.left = most

    def take(self, count: int = 1) -> None:
        """Spend some; raises `TooManyStepsError` if there are not so many."""
        self.left -= count
        if self.left < 0:
            raise TooManyStepsError


class Failure:
    """The first thing that is wrong.

    Attributes
    ----------
    path
        Where it is, from the inside to the outside.
    """

    def __init__(self, keyword: str, wanted: Any, value: Any) -> None:
        self.path: list[str | int] = []
        self.keyword: Final = keyword
        self._wanted = wanted
        self._value = value

    def at(self, step: str | int) -> Failure:
        """Return this, as seen from the list or the object around it."""
        self.path.append(step)
        return self

    def text(self) -> str:
        """Say what is wrong."""
        if self.keyword == "required":
            what = "field" if self.path else "argument"
            return f"the {what} {shown(self._wanted)} is missing"
        wanted = self._wanted
        if self.keyword in ("type", "enum") and isinstance(wanted, list):
            wished = cut(", ".join(map(shown, wanted)))
        else:
            wished = shown(wanted)
        return _SAYINGS[self.keyword].format(value=shown(self._value), wanted=wished)


class Definitions:
    """The schemas that references lead to."""

    def __init__(self, by_name: Mapping[str, Any]) -> None:
        self._by_name = by_name

    def find(self, reference: Any) -> Any:
        """Return the schema that a reference leads to; raises `UnknownReferenceError`."""
        if isinstance(reference, str) and reference.startswith(_DEFINITIONS):
            name = reference.removeprefix(_DEFINITIONS)
            for each in (name, unquote(name).replace("~1", "/").replace("~0", "~")):
                if each in self._by_name:
                    return self._by_name[each]
        raise UnknownReferenceError


def plain_types(schema: Any) -> tuple[str, ...]:
    """Return the types that a schema allows if it says nothing else; else an empty tuple."""
    if not isinstance(schema, dict):
        return ()
    if isinstance(schema.get("anyOf"), list) and schema.keys() - _REMARKS == {"anyOf"}:
        members = [_own_types(each) for each in schema["anyOf"]]
        fits = all(members) and "type" not in schema
        return tuple(name for each in members for name in each) if fits else ()
    return _own_types(schema)


def _own_types(schema: Any) -> tuple[str, ...]:
    if not isinstance(schema, dict) or "type" not in schema or not schema.keys() <= _REMARKS:
        return ()
    named = schema["type"]
    return tuple(named) if isinstance(named, list) else (named,)


class Check:
    """One check.

    Parameters
    ----------
    definitions
        What references lead to.
    steps
        The budget that it shares with others.
    """

    def __init__(self, definitions: Definitions, steps: Steps) -> None:
        self.definitions: Final = definitions
        self.steps: Final = steps

    def failure(self, schema: Any, value: Any) -> Failure | None:
        """Return what is wrong with a value; None if nothing is.

        Raises
        ------
        TooManyStepsError
            The budget is spent.
        UnknownReferenceError, RecursionError
            The schema leads nowhere, or in a circle.
        """
        self.steps.take()
        if schema is False:
            return Failure("false", None, value)
        if not isinstance(schema, dict):
            return None
        self.steps.take(len(schema) // _LOOKS)
        for keyword, wanted in schema.items():
            look = _KEYWORDS.get(keyword)
            if look is not None:
                found = look(self, wanted, value, schema)
                if found is not None:
                    return found
        return None

    def are_plain(self, schema: Any, values: Collection[Any]) -> bool:
        """Return whether all values are fit because of their types alone."""
        self.steps.take(len(values) // _ITEMS)
        if schema is True or schema == {}:
            return True
        names = plain_types(schema)
        if not names:
            return False
        allowed = frozenset[type]().union(*(_TYPES[name] for name in names))
        others = set(map(type, values)) - allowed
        if others == {float} and "integer" in names:
            self.steps.take(len(values) // _FLOATS)
            return all(each.is_integer() for each in values if type(each) is float)
        return not others


# Schemas in schemas -------------------------------------------------------------------------------


def _ref(check: Check, wanted: Any, value: Any, _: Any) -> Failure | None:
    return check.failure(check.definitions.find(wanted), value)


def _all_of(check: Check, wanted: Any, value: Any, _: Any) -> Failure | None:
    for each in wanted:
        found = check.failure(each, value)
        if found is not None:
            return found
    return None


def _any_of(check: Check, wanted: Any, value: Any, _: Any) -> Failure | None:
    deepest: Failure | None = None
    for each in wanted:
        found = check.failure(each, value)
        if found is None:
            return None
        if deepest is None or len(found.path) > len(deepest.path):
            deepest = found
    return deepest if deepest and deepest.path else Failure("anyOf", None, value)


def _one_of(check: Check, wanted: Any, value: Any, schema: Any) -> Failure | None:
    fitting = 0
    for each in wanted:
        fitting += check.failure(each, value) is None
        if fitting > 1:
            return Failure("oneOf", None, value)
    return None if fitting else _any_of(check, wanted, value, schema)


def _not(check: Check, wanted: Any, value: Any, _: Any) -> Failure | None:
    return None if check.failure(wanted, value) else Failure("not", None, value)


def _if(check: Check, wanted: Any, value: Any, schema: Any) -> Failure | None:
    branch = "else" if check.failure(wanted, value) else "then"
    return check.failure(schema[branch], value) if branch in schema else None


# Lists --------------------------------------------------------------------------------------------


def _prefix_items(check: Check, wanted: Any, value: Any, _: Any) -> Failure | None:
    if isinstance(value, list):
        for index, (schema, item) in enumerate(zip(wanted, value, strict=False)):
            found = check.failure(schema, item)
            if found is not None:
                return found.at(index)
    return None


def _items(check: Check, wanted: Any, value: Any, schema: Any) -> Failure | None:
    if not isinstance(value, list):
        return None
    start = len(schema.get("prefixItems", ()))
    items = value[start:] if start else value
    if check.are_plain(wanted, items):
        return None
    for index, item in enumerate(items, start):
        found = check.failure(wanted, item)
        if found is not None:
            return found.at(index)
    return None


def _unique_items(check: Check, wanted: Any, value: Any, _: Any) -> Failure | None:
    if wanted is not True or not isinstance(value, list):
        return None
    check.steps.take(len(value) // _LOOKS)
    kinds = set(map(type, value))
    different: set[Any]
    # The hashes of texts and bytes cannot be foretold.
    if kinds == {str}:
        different = set(value)
    elif kinds <= _SCALARS:
        different = set(msgspec.json.encode(value)[1:-1].split(b",")) if value else set()
    else:
        written = [msgspec.json.encode(item) for item in value]
        check.steps.take(sum(map(len, written)) // _BYTES)
        different = set(written)
    return Failure("uniqueItems", None, value) if len(different) < len(value) else None


# Objects ------------------------------------------------------------------------------------------


def _properties(check: Check, wanted: Any, value: Any, _: Any) -> Failure | None:
    if not isinstance(value, dict):
        return None
    check.steps.take(len(wanted) // _LOOKS)
    for name, schema in wanted.items():
        if name in value:
            found = check.failure(schema, value[name])
            if found is not None:
                return found.at(name)
    return None


def _additional(check: Check, wanted: Any, value: Any, schema: Any) -> Failure | None:
    if not isinstance(value, dict) or "patternProperties" in schema:
        return None
    known = schema.get("properties", {})
    if not known and wanted is not False and check.are_plain(wanted, value.values()):
        return None
    check.steps.take(len(value) // _LOOKS)
    for name, item in value.items():
        if name not in known:
            if wanted is False:
                return Failure("additionalProperties", name, value)
            found = check.failure(wanted, item)
            if found is not None:
                return found.at(name)
    return None


def _names(check: Check, wanted: Any, value: Any, _: Any) -> Failure | None:
    if isinstance(value, dict):
        if check.are_plain(wanted, value.keys()):
            return None
        for name in value:
            found = check.failure(wanted, name)
            if found is not None:
                return found
    return None


def _required(check: Check, wanted: Any, value: Any, _: Any) -> Failure | None:
    if not isinstance(value, dict):
        return None
    check.steps.take(len(wanted) // _LOOKS)
    missing = next((name for name in wanted if name not in value), None)
    return None if missing is None else Failure("required", missing, value)


# Values -------------------------------------------------------------------------------------------


def _type(_: Check, wanted: Any, value: Any, __: Any) -> Failure | None:
    kind = type(value)
    for name in wanted if isinstance(wanted, list) else (wanted,):
        if kind in _TYPES[name]:
            return None
        if name == "integer" and kind is float and value.is_integer():
            return None
    return Failure("type", wanted, value)


def _enum(check: Check, wanted: Any, value: Any, _: Any) -> Failure | None:
    check.steps.take(len(wanted) // _LOOKS)
    fits = any(_are_equal(each, value) for each in wanted)
    return None if fits else Failure("enum", wanted, value)


def _const(_: Check, wanted: Any, value: Any, __: Any) -> Failure | None:
    return None if _are_equal(wanted, value) else Failure("const", wanted, value)


#: a check of a keyword: what it says, the value, and the schema around it
_Look: TypeAlias = Callable[[Check, Any, Any, Any], Failure | None]


def _number(keyword: str, fits: Callable[[Any, Any], bool]) -> _Look:
    def look(_: Check, wanted: Any, value: Any, __: Any) -> Failure | None:
        if type(value) not in (int, float) or fits(value, wanted):
            return None
        return Failure(keyword, wanted, value)

    return look


def _length(keyword: str, kind: type[Sized], fits: Callable[[int, Any], bool]) -> _Look:
    def look(_: Check, wanted: Any, value: Any, __: Any) -> Failure | None:
        if not isinstance(value, kind) or fits(len(value), wanted):
            return None
        return Failure(keyword, wanted, value)

    return look


def _is_multiple(value: Any, of: Any) -> bool:
    if not isinstance(of, float):
        return bool(value % of == 0)
    try:
        quotient = value / of
    except OverflowError:
        return True
    return not math.isfinite(quotient) or int(quotient) == quotient


def _are_equal(one: Any, other: Any) -> bool:
    """Return whether values are equal in JSON, where true is not 1; `one` is of the schema."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_are_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            _are_equal(each, other[name]) for name, each in one.items()
        )
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


_KEYWORDS: Final[Mapping[str, _Look]] = {
    "$ref": _ref,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
    "prefixItems": _prefix_items,
    "items": _items,
    "uniqueItems": _unique_items,
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": _names,
    "required": _required,
    "type": _type,
    "enum": _enum,
    "const": _const,
    "minimum": _number("minimum", lambda value, least: value >= least),
    "maximum": _number("maximum", lambda value, most: value <= most),
    "exclusiveMinimum": _number("exclusiveMinimum", lambda value, least: value > least),
    "exclusiveMaximum": _number("exclusiveMaximum", lambda value, most: value < most),
    "multipleOf": _number("multipleOf", _is_multiple),
    "minLength": _length("minLength", str, lambda count, least: count >= least),
    "maxLength": _length("maxLength", str, lambda count, most: count <= most),
    "minItems": _length("minItems", list, lambda count, least: count >= least),
    "maxItems": _length("maxItems", list, lambda count, most: count <= most),
    "minProperties": _length("minProperties", dict, lambda count, least: count >= least),
    "maxProperties": _length("maxProperties", dict, lambda count, most: count <= most),
}
_SAYINGS: Final[Mapping[str, str]] = {
    "false": "{value} is not allowed here",
    "anyOf": "{value} is not valid under any of the given schemas",
    "oneOf": "{value} is valid under more than one of the given schemas",
    "not": "{value} is not allowed here",
    "additionalProperties": "the field {wanted} is unknown",
    "uniqueItems": "some of its items are equal",
    "type": "{value} is not of type {wanted}",
    "enum": "{value} is not one of {wanted}",
    "const": "{value} is not {wanted}",
    "minimum": "{value} is less than the minimum of {wanted}",
    "maximum": "{value} is greater than the maximum of {wanted}",
    "exclusiveMinimum": "{value} must be greater than {wanted}",
    "exclusiveMaximum": "{value} must be less than {wanted}",
    "multipleOf": "{value} is not a multiple of {wanted}",
    "minLength": "{value} is too short: at least {wanted} characters",
    "maxLength": "{value} is too long: at most {wanted} characters",
    "minItems": "{value} is too short: at least {wanted} items",
    "maxItems": "{value} is too long: at most {wanted} items",
    "minProperties": "{value} has too few members: at least {wanted}",
    "maxProperties": "{value} has too many members: at most {wanted}",
}


# Texts -------------------------------------------------------------------------------------------


def shown(value: Any) -> str:
    """Return a value as a message shows it, in at most about `SHOWN_MAX` characters."""
    if isinstance(value, str):
        return repr(cut(value))
    return cut(_written(value, 3))


def _written(value: Any, levels: int) -> str:
    if isinstance(value, list):
        inner = [_written(each, levels - 1) for each in value[:8]] if levels else []
        return f"[{', '.join([*inner, *(['…'] if len(value) > len(inner) else [])])}]"
    if isinstance(value, dict):
        heads = [name for name, _ in zip(value, range(8 if levels else 0), strict=False)]
        pairs = [f"{shown(name)}: {_written(value[name], levels - 1)}" for name in heads]
        return f"{{{', '.join([*pairs, *(['…'] if len(value) > len(pairs) else [])])}}}"
    return repr(cut(value)) if isinstance(value, str) else repr(value)


def cut(text: str) -> str:
    """Return a text, or the beginning of a long one."""
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
