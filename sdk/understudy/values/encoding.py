"""Conversion of Python values into ones that msgspec writes as msgpack without loss.

Left alone, msgspec writes a tuple as an array and a Decimal as a string, and a reader can no longer
tell what they were. `is_plain` finds out in a few hundred nanoseconds that a value contains nothing
of that sort; such a value is written as it is. For any other value `Converter` makes a copy in
which tuples, Decimals and so on are msgpack extension types.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec.msgpack import Ext

from understudy.values import extension_types, pickles
from understudy.values.attributes import own_attributes, slot_attributes
from understudy.values.builders import is_instrumented, written_by_pydantic
from understudy.values.class_kinds import SCALARS, is_model, is_named_tuple
from understudy.values.class_names import wire_name
from understudy.values.paths import LocatedError, key_step
from understudy.values.structure import name_classes
from understudy.values.zones import ZoneError, zone_text

#: writes a plain value as msgpack
encode: Final = msgspec.msgpack.Encoder().encode

#: levels of nesting; far below the depth at which Python's or msgspec's recursion ends
DEPTH_MAX: Final = 100

#: the integers that msgpack itself holds
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1


class UnencodableError(LocatedError):
    """A value, or something inside it, cannot be encoded.

    Parameters
    ----------
    problem
        The fault.
    advice
        What to do about it; None if the general advice applies (pass plain data, or pickle).
    """

    def __init__(self, problem: str, advice: str | None = None) -> None:
        super().__init__(problem)
        self.advice = advice


class TooManyItemsError(Exception):
    """A value has more items than its encoding may have bytes, so there is no use in going on."""


def is_plain(value: Any, items_max: int) -> bool:
    """Return whether msgspec's encoding of `value` decodes to an equal value of the same types.

    Ints that are too large and lone surrogates are left to msgspec's encoder, which looks at every
    int and every text anyway and raises `OverflowError` or `UnicodeEncodeError`.
    """
    return type(value) in SCALARS or _scan(value, DEPTH_MAX, items_max) >= 0


def _scan(container: Any, depth_left: int, containers_left: int) -> int:
    """Return how many more lists and dicts may follow, or -1 if `container` is not plain.

    The loops are spelled out because for the few items of a typical call they are faster than
    anything that builds a set first.
    """
    kind = type(container)
    if kind is dict:
        for key in container:
            if type(key) is not str:
                return -1
        container = container.values()
    elif kind is not list:
        return -1
    for item in container:
        if type(item) not in SCALARS:
            if containers_left == 0:
                raise TooManyItemsError
            if depth_left == 1:
                return -1
            containers_left = _scan(item, depth_left - 1, containers_left - 1)
            if containers_left < 0:
                return -1
    return containers_left


class Converter:
    """The conversion of one value; use a new converter for each.

    Parameters
    ----------
    pickle
        Whether a value that is not plain data is pickled. If False it is an `UnencodableError`.
    items_max
        The most values that may be inside; one more raises `TooManyItemsError`.
    encode_error
        Encodes an exception among the values.
    """

    __slots__ = (
        "pickle",
        "items_left",
        "depth",
        "model_depth",
        "instances",
        "pickles",
        "_encode_error",
    )

    def __init__(
        self, pickle: bool, items_max: int, encode_error: Callable[[BaseException], bytes]
    ) -> None:
        self.pickle = pickle
        self.items_left = items_max
        self._encode_error = encode_error
        self.depth = 0
        #: how many pydantic models are around the current value
        self.model_depth = 0
        #: how many instances of users' classes have been converted
        self.instances = 0
        #: how many values have been pickled
        self.pickles = 0

    def convert(self, value: Any) -> Any:
        """Return `value` itself if msgpack holds it as it is, else its substitute.

        Raises
        ------
        UnencodableError
            Something in `value` is not plain data.
        TooManyItemsError
            `value` contains too many items.
        """
        kind: Any = type(value)
        if kind is bool or value is None or kind is float or kind is bytes:
            return value
        self.items_left -= 1
        if self.items_left < 0:
            raise TooManyItemsError
        if kind is str:
            return _convert_str(value)
        if kind is int:
            return _convert_int(value)
        conversion = _CONVERSIONS.get(kind) or _conversion_of_class(kind)
        if conversion is None:
            return self._convert_other(value)
        if self.depth == DEPTH_MAX:
            raise UnencodableError(
                f"nested deeper than {DEPTH_MAX} levels, or contains itself",
                "Pass flatter data, without cycles",
            )
        self.depth += 1
        try:
            return conversion(self, value)
        finally:
            self.depth -= 1

    def convert_items(self, values: Iterable[Any]) -> list[Any]:
        """Convert each of `values`; a failure carries the index of its item."""
        converted: list[Any] = []
        try:
            converted.extend(map(self.convert, values))
        except UnencodableError as error:
            error.steps.append(f"[{len(converted)}]")
            raise
        return converted

    def convert_fields(
        self, fields: Iterable[tuple[str, Any]], name_classes: Mapping[str, bool] | None = None
    ) -> dict[str, Any]:
        """Convert the values of `fields`; a failure carries the name of its field.

        Parameters
        ----------
        name_classes
            Whether the annotation of each field names classes, which a reader can rebuild; None
            if a reader can always do it. Instances in attributes that have no annotation are
            pickled too, but are otherwise left to the reader, which may want raw data.
        """
        converted: dict[str, Any] = {}
        name = ""
        try:
            for name, value in fields:
                instances = self.instances
                converted[name] = self.convert(value)
                if (
                    self.instances != instances
                    and name_classes is not None
                    and not name_classes.get(name, not self.pickle)
                ):
                    converted[name] = self._convert_classless(value)
        except UnencodableError as error:
            error.steps.append(f".{name}")
            raise
        return converted

    def convert_instance(self, value: Any, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return the name of the class of an instance, and its fields, converted."""
        kind: Any = type(value)
        converted = self.convert_fields(fields.items(), name_classes(kind))
        self.instances += 1
        return wire_name(kind), converted

    def convert_to_pickle(self, value: Any) -> Ext:
        """Pickle `value`; may raise any `Exception`."""
        self.pickles += 1
        return Ext(extension_types.PICKLE, pickles.dumps(value))

    def _convert_classless(self, value: Any) -> Any:
        """Pickle a field's value, because its annotation does not say how to rebuild it."""
        if self.pickle:
            with contextlib.suppress(Exception):
                return self.convert_to_pickle(value)
        raise UnencodableError(
            "an instance of a class, which the annotation of the field does not name, so it could "
            "not be rebuilt",
            "Annotate the field with the class, or allow all with Runtime(pickle=True)",
        )

    def _convert_other(self, value: Any) -> Any:
        if isinstance(value, BaseException):
            return Ext(extension_types.ERROR, self._encode_error(value))
        kind: Any = type(value)
        name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        if self.pickle:
            try:
                return self.convert_to_pickle(value)
            except Exception as error:
                problem = f"object of type {name} cannot be pickled: {error}"
                raise UnencodableError(problem, "Pass plain data") from error
        if self.model_depth:
            self.instances += 1
            written = self.convert(_as_pydantic_writes_it(value, name))
            return Ext(extension_types.RECORD, encode((wire_name(kind), written)))
        raise UnencodableError(f"object of type {name} is not plain data")


def _as_pydantic_writes_it(value: Any, name: str) -> Any:
    """Return the JSON form of a URL, a path or the like, from which pydantic reads it back."""
    if hasattr(value, "get_secret_value"):
        raise UnencodableError(
            f"object of type {name} is a secret", "Secrets are not stored: pass a name"
        )
    kind: Any = type(value)
    reader = written_by_pydantic(kind)
    try:
        written = sys.modules["pydantic_core"].to_jsonable_python(value)
        read = reader.validate_python(written)
    except Exception as error:
        raise UnencodableError(f"object of type {name} is not plain data: {error}") from error
    if type(read) is not kind or read != value or repr(read) != repr(value):
        raise UnencodableError(f"object of type {name} is not plain data: pydantic changes it")
    return written


def _convert_int(value: int) -> Any:
    if _INT_MIN <= value <= _INT_MAX:
        return value
    size = value.bit_length() // 8 + 1
    return Ext(extension_types.BIG_INT, value.to_bytes(size, "big", signed=True))


def _convert_str(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise UnencodableError(
                f"text with a lone surrogate at position {error.start}",
                "Text must be valid Unicode; pass undecoded data as bytes",
            ) from None
    return value


def _convert_list(converter: Converter, value: list[Any]) -> list[Any]:
    return converter.convert_items(value)


def _conversion_to_array(code: int) -> Callable[[Converter, Iterable[Any]], Ext]:
    def convert(converter: Converter, value: Iterable[Any]) -> Ext:
        return Ext(code, encode(converter.convert_items(value)))

    return convert


def _convert_dict(converter: Converter, value: dict[Any, Any]) -> Any:
    """Return a dict if msgpack holds all keys as they are, else an array of pairs."""
    converted: dict[Any, Any] = {}
    pairs: list[Any] = []
    has_plain_keys = True
    key: Any = None
    try:
        for key, item in value.items():
            kind = type(key)
            new_key = converter.convert(key)
            has_plain_keys = has_plain_keys and (kind is str or (kind is int and new_key is key))
            new_item = converter.convert(item)
            if has_plain_keys:
                converted[key] = new_item
            pairs.append(new_key)
            pairs.append(new_item)
    except UnencodableError as error:
        error.steps.append(key_step(key))
        raise
    return converted if has_plain_keys else Ext(extension_types.PAIRS, encode(pairs))


def _conversion_with_zone(code: int) -> Callable[[Converter, Any], Ext]:
    def convert(converter: Converter, value: dt.datetime | dt.time) -> Ext:
        try:
            key = zone_text(value)
            return Ext(code, f"{value.fold}|{value.isoformat()}|{key}".encode())
        except (ZoneError, UnicodeEncodeError) as error:
            if converter.pickle:
                with contextlib.suppress(Exception):
                    return converter.convert_to_pickle(value)
            problem, *advice = str(error).split(". ", 1)
            raise UnencodableError(
                f"a time: {problem}", *advice or ["Give the zone another name"]
            ) from error

    return convert


def _convert_date(_: Converter, value: dt.date) -> Ext:
    return Ext(extension_types.DATE, value.isoformat().encode())


def _convert_timedelta(_: Converter, value: dt.timedelta) -> Ext:
    parts = (value.days, value.seconds, value.microseconds)
    return Ext(extension_types.TIMEDELTA, encode(parts))


def _convert_decimal(_: Converter, value: decimal.Decimal) -> Ext:
    return Ext(extension_types.DECIMAL, str(value).encode())


def _convert_uuid(_: Converter, value: uuid.UUID) -> Ext:
    return Ext(extension_types.UUID, value.bytes)


def _convert_enum(converter: Converter, value: enum.Enum) -> Ext:
    pickles = converter.pickles
    raw = converter.convert_fields([("value", value.value)])["value"]
    kind: Any = type(value)
    converter.instances += 1
    if converter.pickles != pickles and value.name in kind.__members__:
        # What was pickled arrives as another object, by which the member may not be found.
        return Ext(extension_types.ENUM, encode((wire_name(kind), raw, value.name)))
    return Ext(extension_types.ENUM, encode((wire_name(kind), raw)))


def _convert_named_tuple(converter: Converter, value: Any) -> Ext:
    fields = dict(zip(value._fields, value, strict=True)) | own_attributes(value)
    if len(fields) > len(value):
        raise UnencodableError(
            f"attribute {list(fields)[len(value)]!r} is no field of the named tuple",
            "Pass a dataclass",
        )
    kind, converted = converter.convert_instance(value, fields)
    items = Ext(extension_types.TUPLE, encode(list(converted.values())))
    return Ext(extension_types.RECORD, encode((kind, items)))


def _convert_dataclass(converter: Converter, value: Any) -> Ext:
    kind: Any = type(value)
    names = _dataclass_fields(kind)
    attributes = getattr(value, "__dict__", None)
    if attributes is not None and attributes.keys() == names.keys():
        fields = {name: attributes[name] for name in names}
    else:
        fields = _dataclass_attributes(value, names)
    return Ext(extension_types.RECORD, encode(converter.convert_instance(value, fields)))


@functools.lru_cache(maxsize=1024)
def _dataclass_fields(kind: Any) -> dict[str, None]:
    return {field.name: None for field in dataclasses.fields(kind)}


def _dataclass_attributes(value: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return the fields that are set, and the attributes that are no fields."""
    fields = {}
    for name in names:
        with contextlib.suppress(AttributeError):  # never set
            fields[name] = getattr(value, name)
    for attributes in (own_attributes(value), slot_attributes(value)):
        fields |= {name: item for name, item in attributes.items() if name not in fields}
    return fields


def _convert_struct(converter: Converter, value: msgspec.Struct) -> Ext:
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    for field in msgspec.structs.fields(type(value)):
        if fields[field.name] is msgspec.UNSET and field.default is msgspec.UNSET:
            del fields[field.name]
    return Ext(
        extension_types.RECORD,
        encode(converter.convert_instance(value, fields | own_attributes(value))),
    )


def _convert_model(converter: Converter, value: Any) -> Ext:
    converter.model_depth += 1
    try:
        kind: Any = type(value)
        if is_instrumented(kind):
            # SQLAlchemy's own attributes stay here, and the constructor makes new ones.
            loaded = _loaded_fields(value)
            return Ext(extension_types.RECORD, encode(converter.convert_instance(value, loaded)))
        fields = {name: vars(value)[name] for name in kind.model_fields}
        wire_kind, converted = converter.convert_instance(value, fields)
        if kind.__pydantic_root_model__:
            converted = converted["root"]
        extra, private = (
            None
            if attributes is None
            else converter.convert_fields(attributes.items(), name_classes(kind))
            for attributes in (value.__pydantic_extra__, value.__pydantic_private__)
        )
        names_set = sorted(value.__pydantic_fields_set__)
        return Ext(extension_types.MODEL, encode([wire_kind, converted, names_set, extra, private]))
    finally:
        converter.model_depth -= 1


def _loaded_fields(value: Any) -> dict[str, Any]:
    """Return the fields of a model that SQLAlchemy maps; what it has not loaded, it loads now."""
    fields = {}
    for name in type(value).model_fields:
        try:
            fields[name] = getattr(value, name)
        except Exception as error:
            problem = f"attribute {name!r} cannot be loaded: {error}"
            raise UnencodableError(problem, "Refresh the object while it has a session") from error
    return fields


Conversion = Callable[[Converter, Any], Any]

_CONVERSIONS: Final[dict[type, Conversion]] = {
    list: _convert_list,
    dict: _convert_dict,
    tuple: _conversion_to_array(extension_types.TUPLE),
    set: _conversion_to_array(extension_types.SET),
    frozenset: _conversion_to_array(extension_types.FROZENSET),
    dt.datetime: _conversion_with_zone(extension_types.DATETIME),
    dt.time: _conversion_with_zone(extension_types.TIME),
    dt.date: _convert_date,
    dt.timedelta: _convert_timedelta,
    decimal.Decimal: _convert_decimal,
    uuid.UUID: _convert_uuid,
}


_BUILT_IN: Final = (str, bytes, bytearray, int, float, complex, list, tuple, dict, set, frozenset)


@functools.lru_cache(maxsize=1024)
def _conversion_of_class(kind: type) -> Conversion | None:
    """Return the conversion for a user's own class; None if its values are not plain data."""
    if issubclass(kind, BaseException):
        return None
    if issubclass(kind, enum.Enum):
        return _convert_enum
    if issubclass(kind, msgspec.Struct):
        return _convert_struct
    if is_model(kind):
        return _convert_model
    if dataclasses.is_dataclass(kind):
        # A container that is a dataclass too would lose its items.
        return None if issubclass(kind, _BUILT_IN) else _convert_dataclass
    if is_named_tuple(kind):
        return _convert_named_tuple
    return None
