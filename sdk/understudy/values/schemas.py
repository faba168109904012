"""JSON schemas of annotations, for callers who write their arguments as JSON.

A schema says how JSON becomes a value: besides the usual keywords it has formats for what JSON has
no type for (``date-time``, ``uuid``, ``decimal``, …), and ``x-python`` where a list is to become a
tuple or a set, or the keys of an object numbers. An annotation that says nothing, or that nothing
is known about, has the schema of anything: ``{}``.

Schemas are made once for each function that a node announces, and hints are evaluated for it, as
they are for the first call.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import inspect
import types
import typing
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Final

import msgspec

from understudy.values.class_kinds import is_model, is_named_tuple
from understudy.values.hints import Unresolved, function_hints
from understudy.values.structure import field_hints, unwrap

#: bytes of the schema of a function; one that would be longer is announced as that of anything
FUNCTION_BYTES_MAX: Final = 16 * 1024
#: characters of a description, which is the first paragraph of a docstring
DESCRIPTION_CHARS_MAX: Final = 500
#: levels of annotations inside each other; deeper ones are anything
DEPTH_MAX: Final = 32

#: where the schemas of classes are, in that of a function
_DEFINITIONS: Final = "#/$defs/"
_SCALARS: Final[dict[Any, dict[str, Any]]] = {
    type(None): {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bytes: {"type": "string", "contentEncoding": "base64"},
    dt.datetime: {"type": "string", "format": "date-time"},
    dt.date: {"type": "string", "format": "date"},
    dt.time: {"type": "string", "format": "time"},
    dt.timedelta: {"type": "string", "format": "duration"},
    uuid.UUID: {"type": "string", "format": "uuid"},
    decimal.Decimal: {"type": ["string", "number"], "format": "decimal"},
    list: {"type": "array"},
    tuple: {"type": "array", "x-python": "tuple"},
    set: {"type": "array", "uniqueItems": True, "x-python": "set"},
    frozenset: {"type": "array", "uniqueItems": True, "x-python": "frozenset"},
    dict: {"type": "object"},
}


def function_schema(fn: Any, parameters: Iterable[inspect.Parameter], result: Any) -> str:
    """Return the schema of a function as JSON, ``{}`` if it would be too long; never raises.

    Its keys are `arguments` (an object with the parameters as properties), `positional` (the names
    of those that can be given by position), `rest` (the schema of further positional arguments, if
    they are allowed), `result`, `description` and `$defs`.

    Parameters
    ----------
    parameters
        The parameters without the context.
    result
        The annotation of the result; None if there is none.
    """
    try:
        made = _function_data(fn, list(parameters), result)
        text = msgspec.json.encode(made).decode()
    except Exception:
        # An annotation may be anything, and its schema is only an aid.
        return "{}"
    return text if len(text) <= FUNCTION_BYTES_MAX else "{}"


def _function_data(fn: Any, parameters: list[inspect.Parameter], result: Any) -> dict[str, Any]:
    hints = function_hints(fn)
    maker = SchemaMaker()
    properties: dict[str, Any] = {}
    required, positional = [], []
    made: dict[str, Any] = {}
    others: Any = False
    for parameter in parameters:
        schema = maker.schema(hints.get(parameter.name, Any))
        if parameter.kind is parameter.VAR_POSITIONAL:
            made["rest"] = schema
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            others = schema or True
            continue
        properties[parameter.name] = schema | _default(parameter)
        if parameter.default is parameter.empty:
            required.append(parameter.name)
        if parameter.kind is not parameter.KEYWORD_ONLY:
            positional.append(parameter.name)
    made["arguments"] = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": others,
    }
    made["positional"] = positional
    made["result"] = {} if result is None else maker.schema(result)
    if text := _description(fn):
        made["description"] = text
    if maker.definitions:
        made["$defs"] = maker.definitions
    return made


def _default(parameter: inspect.Parameter) -> dict[str, Any]:
    default = parameter.default
    is_shown = default is None or type(default) in (bool, int, float, str)
    return {"default": default} if is_shown else {}


def _description(fn: Any) -> str:
    text = inspect.getdoc(fn) or ""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return paragraph if len(paragraph) <= DESCRIPTION_CHARS_MAX else ""


class SchemaMaker:
    """Makes schemas, and gathers those of classes.

    Attributes
    ----------
    definitions
        The schemas of classes, by the names by which other schemas refer to them.
    """

    def __init__(self) -> None:
        self.definitions: dict[str, dict[str, Any]] = {}
        self._names: dict[Any, str] = {}
        self._depth = 0

    def schema(self, hint: Any) -> dict[str, Any]:
        """Return the schema of an annotation."""
        if self._depth >= DEPTH_MAX or isinstance(hint, Unresolved):
            return {}
        self._depth += 1
        try:
            return self._schema(types.NoneType if hint is None else hint)
        finally:
            self._depth -= 1

    def _schema(self, hint: Any) -> dict[str, Any]:
        if (inner := unwrap(hint)) is not hint:
            return self.schema(inner)
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is typing.Union or origin is types.UnionType:
            return self._union(arguments)
        if origin is typing.Literal:
            return _values(
                each.value if isinstance(each, enum.Enum) else each for each in arguments
            )
        if origin is None and _is_hashable(hint) and hint in _SCALARS:
            return dict(_SCALARS[hint])
        kind = origin or hint
        if not isinstance(kind, type):
            return {}
        return self._of_class(hint, kind, arguments)

    def _union(self, members: Sequence[Any]) -> dict[str, Any]:
        schemas = [self.schema(member) for member in members]
        return {"anyOf": schemas} if all(schemas) else {}

    def _of_class(self, hint: Any, kind: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
        if issubclass(kind, enum.Enum):
            return self._named(hint, kind, lambda: _values(member.value for member in kind))
        if is_model(kind):
            return self._model(kind)
        if is_named_tuple(kind):
            return self._named(hint, kind, lambda: self._named_tuple(kind, arguments))
        if typing.is_typeddict(kind):
            required = kind.__required_keys__
            return self._named(hint, kind, lambda: self._record(kind, arguments, required))
        if issubclass(kind, msgspec.Struct) or dataclasses.is_dataclass(kind):
            required = frozenset(_required_fields(kind))
            return self._named(hint, kind, lambda: self._record(kind, arguments, required))
        return self._container(kind, arguments)

    def _container(self, kind: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
        if issubclass(kind, tuple):
            if len(arguments) == 2 and arguments[1] is Ellipsis:
                return {"type": "array", "items": self.schema(arguments[0]), "x-python": "tuple"}
            return self._items(arguments) | {"x-python": "tuple"}
        if issubclass(kind, Mapping) and len(arguments) == 2:
            keys = {"x-python": "integer-keys"} if arguments[0] is int else {}
            return {"type": "object", "additionalProperties": self.schema(arguments[1])} | keys
        if issubclass(kind, Set) and len(arguments) == 1:
            name = "frozenset" if kind is frozenset else "set"
            items = self.schema(arguments[0])
            return {"type": "array", "items": items, "uniqueItems": True, "x-python": name}
        is_list = issubclass(kind, list) or kind in _ABSTRACT_LISTS
        if is_list and len(arguments) == 1:
            return {"type": "array", "items": self.schema(arguments[0])}
        return {}

    def _items(self, arguments: Sequence[Any]) -> dict[str, Any]:
        return {
            "type": "array",
            "prefixItems": [self.schema(each) for each in arguments],
            "minItems": len(arguments),
            "maxItems": len(arguments),
        }

    def _named_tuple(self, kind: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
        hints = field_hints(kind, arguments)
        names: tuple[str, ...] = kind._fields
        return self._items([hints.get(name, Any) for name in names]) | {
            "minItems": len(names) - len(kind._field_defaults)
        }

    def _record(
        self, kind: Any, arguments: tuple[Any, ...], required: Iterable[str]
    ) -> dict[str, Any]:
        hints = {
            name: hint
            for name, hint in field_hints(kind, arguments).items()
            if typing.get_origin(hint) is not typing.ClassVar
        }
        made: dict[str, Any] = {
            "type": "object",
            "properties": {name: self.schema(hint) for name, hint in hints.items()},
        }
        if names := sorted(set(required) & hints.keys()):
            made["required"] = names
        return made

    def _model(self, kind: Any) -> dict[str, Any]:
        schema = kind.model_json_schema(ref_template=f"{_DEFINITIONS}{{model}}")
        inner = schema.pop("$defs", {})
        if any(self.definitions.get(name, each) != each for name, each in inner.items()):
            return {}  # two classes of one name
        self.definitions |= inner
        if schema.keys() == {"$ref"}:  # it refers to itself
            return dict(schema)
        return self._named(kind, kind, lambda: schema)

    def _named(self, hint: Any, kind: Any, make: Any) -> dict[str, Any]:
        """Return a reference to the schema of a class, which may refer to itself."""
        key = hint if _is_hashable(hint) else id(hint)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = self._free_name(kind)
            self.definitions[name] = {}
            self.definitions[name] = {"title": kind.__name__} | make()
        return {"$ref": f"{_DEFINITIONS}{name}"}

    def _free_name(self, kind: Any) -> str:
        name: str = kind.__name__
        names = [name, *(f"{name}-{number}" for number in range(2, 100))]
        return next(each for each in names if each not in self.definitions)


_ABSTRACT_LISTS: Final = (Sequence, Iterable, Collection, Iterator)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value


def _values(values: Iterable[Any]) -> dict[str, Any]:
    """Return the schema of some values; that of anything if JSON cannot hold one of them."""
    found = list(values)
    is_plain = all(each is None or type(each) in (bool, int, float, str) for each in found)
    return {"enum": found} if is_plain else {}


def _required_fields(kind: Any) -> Iterator[str]:
    if issubclass(kind, msgspec.Struct):
        yield from (each.name for each in msgspec.structs.fields(kind) if each.required)
        return
    for each in dataclasses.fields(kind):
        has_default = (
            each.default is not dataclasses.MISSING
            or each.default_factory is not dataclasses.MISSING
        )
        if each.init and not has_default:
            yield each.name


def _is_hashable(hint: Any) -> bool:
    try:
        hash(hint)
    except TypeError:
        return False
    return True
