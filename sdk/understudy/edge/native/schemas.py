"""Arguments by the schemas that nodes announce: checked, and made the values that are meant.

JSON has texts where a function may want a date, a UUID or bytes, and arrays where it may want a
tuple or a set. The schema says so (`understudy.values.schemas`), and the edge sends what is meant,
so that a function gets from a JSON client what it gets from a Python one. A schema comes from a
node, so it may be anything: one that makes no sense checks nothing.
"""

from __future__ import annotations

import datetime as dt
import decimal
import difflib
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, TypeAlias

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from understudy.edge.native.checks import (
    SHOWN_MAX,
    STEPS_MAX,
    Check,
    Definitions,
    Failure,
    Steps,
    TooManyStepsError,
    UnknownReferenceError,
    cut,
    plain_types,
    shown,
)
from understudy.edge.native.problems import Problem
from understudy.values.collisions import CollisionError, check_hashes

Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]

#: characters of the pointer to a field
_FIELD_MAX: Final = 1000
#: texts or numbers that are converted in the time of a step
_TEXTS: Final = 32
#: types of the texts of a format
_FORMATS: Final[dict[str, Any]] = {
    "date-time": dt.datetime,
    "date": dt.date,
    "time": dt.time,
    "duration": dt.timedelta,
    "uuid": uuid.UUID,
    "decimal": decimal.Decimal,
}


_COLLECTIONS: Final[dict[str, Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset}


class _Unfit(Exception):
    """A text that is not of its format, with the path to it."""

    def __init__(self, path: tuple[str | int, ...], problem: str) -> None:
        super().__init__(problem)
        self.path = path


class FunctionSchema:
    """The schema of a function.

    Parameters
    ----------
    text
        The schema as its node announced it.

    Attributes
    ----------
    text
        As the parameter.
    data
        The schema as JSON data; empty if it says nothing, or is none.
    """

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self.data: Final = _read(text)
        self._by_name: Final[dict[str, Any]] = _mapping(self.data.get("$defs"))
        self._definitions: Final = Definitions(self._by_name)
        self._arguments: Final[dict[str, Any]] = _mapping(self.data.get("arguments"))

    def arguments(self, arguments: Arguments) -> Arguments:
        """Return the arguments as the function is meant to get them.

        Raises
        ------
        Problem
            422 they do not suit its parameters; the problem names the field. 413 it would take too
            long to find that out.
        """
        if not (self._arguments and self._is_sound):
            return arguments
        try:
            return _Reading(self.data, self._definitions).arguments(arguments)
        except _Unfit as error:
            raise _problem(error.path, str(error)) from None
        except TooManyStepsError:
            raise _too_much() from None
        except (UnknownReferenceError, RecursionError):
            return arguments  # a reference leads nowhere, or in a circle

    @cached_property
    def _is_sound(self) -> bool:
        """True if the schema is one; where its references lead is seen when they are followed."""
        parts = [self._arguments, self.data.get("rest", True)]
        try:
            Draft202012Validator.check_schema({"$defs": self._by_name, "allOf": parts})
        except (SchemaError, RecursionError):
            return False
        return True


class _Reading:
    """The reading of the arguments of one request, with its budget of steps."""

    def __init__(self, data: Mapping[str, Any], definitions: Definitions) -> None:
        self._data = data
        self._arguments = _mapping(data.get("arguments"))
        self._properties = _mapping(self._arguments.get("properties"))
        self._names = _texts(data.get("positional"))
        self._definitions = definitions
        self._steps = Steps()
        self._check = Check(definitions, self._steps)

    def arguments(self, arguments: Arguments) -> Arguments:
        args, kwargs = arguments
        named = self._by_name(args) | kwargs
        self._check_names(named)
        self._test(self._arguments, named)
        rest = args[len(self._names) :]
        converted = {
            name: self._convert(self._schema_of(name), value, (name,))
            for name, value in named.items()
        }
        by_position = [converted[name] for name in self._names[: len(args)]]
        return (
            (*by_position, *self._rest(list(rest), len(by_position))),
            {name: converted[name] for name in kwargs},
        )

    def _by_name(self, args: Sequence[Any]) -> dict[str, Any]:
        if len(args) > len(self._names) and "rest" not in self._data:
            raise _problem(
                (len(self._names),),
                f"there are {len(args)} arguments by position, and the function takes "
                f"{len(self._names)}: {_listed(self._names)}",
            )
        return dict(zip(self._names, args, strict=False))

    def _check_names(self, named: Mapping[str, Any]) -> None:
        if self._arguments.get("additionalProperties", True) is not False:
            return
        for name in named:
            if name not in self._properties:
                near = difflib.get_close_matches(name[:SHOWN_MAX], self._properties, n=1)
                known = _listed(self._properties)
                hint = f"similar: {cut(near[0])}" if near else f"its arguments: {known}"
                raise _problem((name,), f"the function has no argument {shown(name)}; {hint}")

    def _test(self, schema: Any, value: Any, start: int = 0) -> None:
        """Check a value; `start` is added to the index of the argument that is wrong."""
        found = self._check.failure(schema, value)
        if found is not None:
            raise _problem(_path(found, start), found.text())

    def _rest(self, values: list[Any], start: int) -> Iterable[Any]:
        if not values:
            return ()
        schema = {"items": self._data.get("rest", True)}
        self._test(schema, values, start)
        converted: Iterable[Any] = self._convert_list(schema, values, (), start)
        return converted

    def _schema_of(self, name: str) -> Any:
        return self._properties.get(name, self._arguments.get("additionalProperties"))

    # Conversion ----------------------------------------------------------------------------------

    def _convert(self, schema: Any, value: Any, path: tuple[str | int, ...]) -> Any:
        """Return the value that JSON data of a schema means; raises `_Unfit`."""
        self._steps.take()
        if not isinstance(schema, dict) or not schema or value is None or len(path) > 100:
            return value
        reference = schema.get("$ref")
        if isinstance(reference, str):
            return self._convert(self._definitions.find(reference), value, (*path,))
        for keyword in ("anyOf", "oneOf"):
            if isinstance(schema.get(keyword), list):
                return self._convert_member(schema[keyword], value, path)
        if isinstance(value, str):
            return _from_text(schema, value, path)
        if isinstance(value, list):
            return self._convert_list(schema, value, path)
        if isinstance(value, dict):
            return self._convert_object(schema, value, path)
        if type(value) is float and schema.get("type") == "integer":
            return int(value)
        if schema.get("format") == "decimal" and type(value) in (int, float):
            return decimal.Decimal(str(value))
        return value

    def _convert_member(self, members: list[Any], value: Any, path: tuple[str | int, ...]) -> Any:
        """Convert by the first member of a union that fits."""
        failure: _Unfit | None = None
        for member in members:
            if self._check.failure(member, value) is None:
                try:
                    return self._convert(member, value, path)
                except _Unfit as error:
                    failure = failure or error
        if failure is not None:
            raise failure
        return value

    def _convert_list(
        self, schema: dict[str, Any], value: list[Any], path: tuple[str | int, ...], start: int = 0
    ) -> Any:
        first = schema.get("prefixItems")
        heads = first if isinstance(first, list) else []
        rest = schema.get("items")
        items = None if heads else self._convert_alike(rest, value)
        if items is None:
            items = [
                self._convert(
                    heads[index] if index < len(heads) else rest, item, (*path, index + start)
                )
                for index, item in enumerate(value)
            ]
        make = _COLLECTIONS.get(str(schema.get("x-python")))
        try:
            if make in (set, frozenset):
                self._steps.take(len(items) // _TEXTS)
                check_hashes(items)
            return items if make is None else make(items)
        except TypeError:
            raise _Unfit(path, "what is in it cannot be in a set") from None
        except CollisionError as error:
            raise _Unfit(path, str(error)) from None

    def _convert_alike(self, schema: Any, values: Collection[Any]) -> list[Any] | None:
        """Convert many values of one schema at once; None if they must be one by one."""
        if not isinstance(schema, dict) or not schema:
            return list(values)
        if not self._check.are_plain(schema, values):
            return None
        if (kind := _kind_of_text(schema)) is not None:
            return self._convert_texts(kind, values)
        if any(_kind_of_text(each) for each in schema.get("anyOf", ()) if isinstance(each, dict)):
            return None
        types = plain_types(schema)
        if "integer" not in types or float not in set(map(type, values)):
            return list(values)
        if "anyOf" not in schema:
            if types != ("integer",) or isinstance(schema["type"], list):
                return list(values)
        elif "number" in types[: types.index("integer")]:
            return list(values)
        self._steps.take(len(values) // _TEXTS)
        return [int(each) if type(each) is float and each.is_integer() else each for each in values]

    def _convert_texts(self, kind: Any, values: Collection[Any]) -> list[Any] | None:
        if kind is not decimal.Decimal and set(map(type, values)) > {str}:
            return None
        self._steps.take(len(values) // _TEXTS)
        try:
            return msgspec.convert(list(values), list[kind])
        except msgspec.ValidationError:
            return None  # it is found one by one

    def _convert_object(
        self, schema: dict[str, Any], value: dict[str, Any], path: tuple[str | int, ...]
    ) -> Any:
        properties, others = _mapping(schema.get("properties")), schema.get("additionalProperties")
        keys: Iterable[Any] = value
        if schema.get("x-python") == "integer-keys":
            self._steps.take(len(value) // _TEXTS)
            keys = _integers(value, path)
        items = None if properties else self._convert_alike(others, value.values())
        if items is None:
            items = [
                self._convert(properties.get(name, others), item, (*path, name))
                for name, item in value.items()
            ]
        return dict(zip(keys, items, strict=True))


def _integers(names: Iterable[str], path: tuple[str | int, ...]) -> list[int]:
    """Return the numbers that are meant by the names of an object's members."""
    keys = []
    for name in names:
        try:
            keys.append(int(name))
        except ValueError:
            raise _Unfit((*path, name), "its name must be an integer") from None
    try:
        check_hashes(keys)
    except CollisionError as error:
        raise _Unfit(path, str(error)) from None
    return keys


def _kind_of_text(schema: dict[str, Any]) -> Any:
    """Return the type of the texts of a schema; None if they stay texts."""
    kind = _FORMATS.get(str(schema.get("format")))
    return bytes if kind is None and schema.get("contentEncoding") == "base64" else kind


def _from_text(schema: dict[str, Any], text: str, path: tuple[str | int, ...]) -> Any:
    kind = _kind_of_text(schema)
    if kind is None:
        return text
    try:
        return msgspec.convert(text, kind)
    except msgspec.ValidationError:
        form = "base64" if kind is bytes else schema["format"]
        raise _Unfit(path, f"{shown(text)} is no {form}") from None


def _read(text: str) -> dict[str, Any]:
    try:
        return _mapping(msgspec.json.decode(text))
    except (msgspec.DecodeError, RecursionError):
        return {}


def _mapping(data: Any) -> dict[str, Any]:
    return data if isinstance(data, dict) else {}


def _texts(data: Any) -> list[str]:
    return [each for each in data if isinstance(each, str)] if isinstance(data, list) else []


def _path(found: Failure, start: int) -> tuple[str | int, ...]:
    path = found.path[::-1]
    if path and isinstance(path[0], int):
        path[0] += start
    return tuple(path)


def _listed(names: Iterable[str]) -> str:
    return cut(", ".join(names)) or "none"


def _too_much() -> Problem:
    return Problem(
        413,
        f"the arguments take more than {STEPS_MAX:,} steps to check by the schema of the function: "
        "they have too many lists and objects in each other. Lists and objects of numbers, texts "
        "and the like may be as long as a body. Store large data elsewhere, and give the function "
        "its address, or split the call",
    )


def _problem(path: tuple[str | int, ...], message: str) -> Problem:
    """Return the problem of an argument; `field` is a JSON pointer into the body."""
    steps = (cut(str(step)).replace("~", "~0").replace("/", "~1") for step in path)
    field = "".join(f"/{step}" for step in steps)
    if len(field) > _FIELD_MAX:
        field = f"{field[:_FIELD_MAX]}…"
    place = f"{field}: " if field else ""
    return Problem(422, f"{place}{message}", field=field)
