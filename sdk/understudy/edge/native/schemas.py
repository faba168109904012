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
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, TypeAlias

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from understudy.edge.native.problems import Problem
from understudy.values.collisions import CollisionError, check_hashes

Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]

#: characters of a value in a message
_SHOWN_MAX: Final = 200
#: types of the texts of a format
_FORMATS: Final[dict[str, Any]] = {
    "date-time": dt.datetime,
    "date": dt.date,
    "time": dt.time,
    "duration": dt.timedelta,
    "uuid": uuid.UUID,
    "decimal": decimal.Decimal,
}


def _check_unique(
    _: object, wanted: object, items: object, __: object
) -> Iterable[ValidationError]:
    """Find equal items in the time that it takes to write them down, whatever they are."""
    if wanted is not True or not isinstance(items, list):
        return
    if len({msgspec.json.encode(item) for item in items}) < len(items):
        yield ValidationError("some of its items are equal")


#: The keywords that our schemas have, without those with which a schema or a value could keep an
#: edge busy for minutes: regular expressions.
_Validator: Final[type[Draft202012Validator]] = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {"uniqueItems": _check_unique, "pattern": None, "patternProperties": None},
)
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
        self._definitions: Final[dict[str, Any]] = _mapping(self.data.get("$defs"))
        self._arguments: Final[dict[str, Any]] = _mapping(self.data.get("arguments"))
        self._properties: Final = _mapping(self._arguments.get("properties"))
        self._names: Final = _texts(self.data.get("positional"))
        self._validators: dict[int, Draft202012Validator] = {}

    def arguments(self, arguments: Arguments) -> Arguments:
        """Return the arguments as the function is meant to get them.

        Raises
        ------
        Problem
            422 they do not suit its parameters; the problem names the field.
        """
        if not (self._arguments and self._is_sound):
            return arguments
        try:
            return self._checked(arguments)
        except _Unfit as error:
            raise _problem(error.path, str(error)) from None
        except (Unresolvable, RecursionError):
            return arguments  # a reference leads nowhere, or in a circle

    @cached_property
    def _is_sound(self) -> bool:
        """True if the schema is one; where its references lead is seen when they are followed."""
        parts = [self._arguments, self.data.get("rest", True)]
        try:
            Draft202012Validator.check_schema({"$defs": self._definitions, "allOf": parts})
        except (SchemaError, RecursionError):
            return False
        return True

    def _checked(self, arguments: Arguments) -> Arguments:
        args, kwargs = arguments
        named = self._by_name(args) | kwargs
        self._check_names(named)
        for error in _found(self._validator(self._arguments), named):
            raise _problem(tuple(error.absolute_path), _message(error))
        rest = args[len(self._names) :]
        converted = {
            name: self._convert(self._schema_of(name), value, (name,))
            for name, value in named.items()
        }
        by_position = [converted[name] for name in self._names[: len(args)]]
        return (
            (*by_position, *self._rest(rest, len(by_position))),
            {name: converted[name] for name in kwargs},
        )

    def _by_name(self, args: Sequence[Any]) -> dict[str, Any]:
        if len(args) > len(self._names) and "rest" not in self.data:
            raise _problem(
                (len(self._names),),
                f"there are {len(args)} arguments by position, and the function takes "
                f"{len(self._names)}: {', '.join(self._names) or 'none'}",
            )
        return dict(zip(self._names, args, strict=False))

    def _check_names(self, named: Mapping[str, Any]) -> None:
        if self._arguments.get("additionalProperties", True) is False:
            for name in named:
                if name not in self._properties:
                    similar = difflib.get_close_matches(name, self._properties, n=1)
                    known = ", ".join(self._properties) or "none"
                    hint = f"similar: {similar[0]}" if similar else f"its arguments: {known}"
                    raise _problem((name,), f"the function has no argument {name!r}; {hint}")

    def _rest(self, values: Sequence[Any], start: int) -> Iterable[Any]:
        schema = self.data.get("rest")
        for index, value in enumerate(values, start):
            for error in _found(self._validator(schema), value):
                raise _problem((index, *error.absolute_path), _message(error))
            yield self._convert(schema, value, (index,))

    def _schema_of(self, name: str) -> Any:
        return self._properties.get(name, self._arguments.get("additionalProperties"))

    def _validator(self, schema: Any) -> Draft202012Validator:
        found = self._validators.get(id(schema))
        if found is None:
            whole = {"$defs": self._definitions, **schema} if isinstance(schema, dict) else True
            # With an empty registry nothing is fetched, wherever a reference leads.
            found = _Validator(whole, registry=Registry())
            self._validators[id(schema)] = found
        return found

    # Conversion ----------------------------------------------------------------------------------

    def _convert(self, schema: Any, value: Any, path: tuple[str | int, ...]) -> Any:
        """Return the value that JSON data of a schema means; raises `_Unfit`."""
        if not isinstance(schema, dict) or not schema or value is None or len(path) > 100:
            return value
        reference = schema.get("$ref")
        if isinstance(reference, str):
            name = reference.removeprefix("#/$defs/")
            return self._convert(self._definitions.get(name), value, (*path,))
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
            if self._validator(member).is_valid(value):
                try:
                    return self._convert(member, value, path)
                except _Unfit as error:
                    failure = failure or error
        if failure is not None:
            raise failure
        return value

    def _convert_list(
        self, schema: dict[str, Any], value: list[Any], path: tuple[str | int, ...]
    ) -> Any:
        first = schema.get("prefixItems")
        heads = first if isinstance(first, list) else []
        rest = schema.get("items")
        items = [
            self._convert(heads[index] if index < len(heads) else rest, item, (*path, index))
            for index, item in enumerate(value)
        ]
        make = _COLLECTIONS.get(str(schema.get("x-python")))
        try:
            if make in (set, frozenset):
                check_hashes(items)
            return items if make is None else make(items)
        except TypeError:
            raise _Unfit(path, "what is in it cannot be in a set") from None
        except CollisionError as error:
            raise _Unfit(path, str(error)) from None

    def _convert_object(
        self, schema: dict[str, Any], value: dict[str, Any], path: tuple[str | int, ...]
    ) -> Any:
        properties, others = _mapping(schema.get("properties")), schema.get("additionalProperties")
        has_numbers = schema.get("x-python") == "integer-keys"
        keys = _integers(value, path) if has_numbers else value
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


def _from_text(schema: dict[str, Any], text: str, path: tuple[str | int, ...]) -> Any:
    kind = _FORMATS.get(str(schema.get("format")))
    if kind is None and schema.get("contentEncoding") == "base64":
        kind = bytes
    if kind is None:
        return text
    try:
        return msgspec.convert(text, kind)
    except msgspec.ValidationError:
        form = "base64" if kind is bytes else schema["format"]
        raise _Unfit(path, f"{_shown(text)} is no {form}") from None


def _read(text: str) -> dict[str, Any]:
    try:
        return _mapping(msgspec.json.decode(text))
    except (msgspec.DecodeError, RecursionError):
        return {}


def _mapping(data: Any) -> dict[str, Any]:
    return data if isinstance(data, dict) else {}


def _texts(data: Any) -> list[str]:
    return [each for each in data if isinstance(each, str)] if isinstance(data, list) else []


def _found(validator: Draft202012Validator, value: Any) -> Iterable[ValidationError]:
    """Return the error that says most, if there is one."""
    if validator.is_valid(value):
        return ()
    error = best_match(validator.iter_errors(value))
    return () if error is None else (error,)


def _message(error: ValidationError) -> str:
    if error.validator == "required" and isinstance(error.instance, dict):
        required: Any = error.validator_value
        missing = [name for name in required if name not in error.instance]
        what = "argument" if not error.absolute_path else "field"
        return f"the {what} {missing[0]!r} is missing" if missing else error.message
    text = error.message
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…")


def _problem(path: tuple[str | int, ...], message: str) -> Problem:
    """Return the problem of an argument; `field` is a JSON pointer into the body."""
    field = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)
    place = f"{field}: " if field else ""
    return Problem(422, f"{place}{message}", field=field)
