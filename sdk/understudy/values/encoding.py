"""Python values to what msgspec writes as msgpack without loss.

Left alone, msgspec writes a tuple as an array, a Decimal as a string and so on, and nobody can tell
afterwards what it was. `is_plain` says in a few hundred nanoseconds that a value has nothing of the
sort in it, and then it is written as it stands; else `Encoding` makes a copy in which such
things are extension types.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import sys
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from msgspec.msgpack import Ext

from understudy.values import _codes as codes
from understudy.values import _pickle

encode: Final = msgspec.msgpack.Encoder().encode

SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})


class Unencodable(Exception):
    """Found on the way down; each level adds its step to the path on the way up."""

    def __init__(self, problem: str, advice: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice
        self.steps: list[str] = []

    @property
    def path(self) -> str:
        return "".join(reversed(self.steps))


class TooLarge(Exception):
    """More items than bytes are allowed: no use in going on."""


def is_plain(value: Any, items_max: int) -> bool:
    """Whether msgspec's encoding of `value` decodes to an equal value of the same types.

    Too large an int and a lone surrogate are for the encoder to find: it looks at each anyhow.
    """
    return type(value) in SCALARS or _scan(value, codes.DEPTH_MAX, items_max) >= 0


def _scan(box: Any, depth_left: int, boxes_left: int) -> int:
    """How many lists and dicts may still follow, or -1 if `box` is not plain.

    Plain loops: for the few items of a typical call they beat anything that builds a set first.
    """
    kind = type(box)
    if kind is dict:
        for key in box:
            if type(key) is not str:
                return -1
        box = box.values()
    elif kind is not list:
        return -1
    for item in box:
        if type(item) not in SCALARS:
            if boxes_left == 0:
                raise TooLarge
            if depth_left == 1:
                return -1
            boxes_left = _scan(item, depth_left - 1, boxes_left - 1)
            if boxes_left < 0:
                return -1
    return boxes_left


class Encoding:
    """One use each: makes the copy of one value.

    Parameters
    ----------
    pickle
        Whether what is not plain data goes through cloudpickle, or is an error.
    items_max
        How many values may be inside; more raise `TooLarge`.
    """

    __slots__ = ("pickle", "items_left", "depth", "in_model")

    def __init__(self, pickle: bool, items_max: int) -> None:
        self.pickle = pickle
        self.items_left = items_max
        self.depth = 0
        self.in_model = 0

    def lower(self, value: Any) -> Any:
        """Return `value` itself, or what stands for it; raises `Unencodable` and `TooLarge`."""
        kind: Any = type(value)
        if kind is bool or value is None or kind is float or kind is bytes:
            return value
        self.items_left -= 1
        if self.items_left < 0:
            raise TooLarge
        if kind is str:
            return _str(value)
        if kind is int:
            return _int(value)
        lower = _LOWER.get(kind) or _lower_of(kind)
        if lower is None:
            return self._other(value)
        if self.depth == codes.DEPTH_MAX:
            raise Unencodable(
                f"nested deeper than {codes.DEPTH_MAX} levels, or contains itself",
                "Pass flatter data, without cycles",
            )
        self.depth += 1
        try:
            return lower(self, value)
        finally:
            self.depth -= 1

    def items(self, values: Iterable[Any]) -> list[Any]:
        """Lower each of `values`; failures carry its index."""
        lowered: list[Any] = []
        try:
            lowered.extend(map(self.lower, values))
        except Unencodable as error:
            error.steps.append(f"[{len(lowered)}]")
            raise
        return lowered

    def fields(self, fields: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        """Lower what stands in `fields`; failures carry its name."""
        lowered: dict[str, Any] = {}
        name = ""
        try:
            for name, value in fields:
                lowered[name] = self.lower(value)
        except Unencodable as error:
            error.steps.append(f".{name}")
            raise
        return lowered

    def _other(self, value: Any) -> Any:
        kind = type(value)
        name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        if self.pickle:
            try:
                return Ext(codes.PICKLE, _pickle.dumps(value))
            except Exception as error:
                problem = f"object of type {name} cannot be pickled: {error}"
                raise Unencodable(problem, "Pass plain data") from error
        if self.in_model:
            return self.lower(_as_pydantic_writes_it(value, name))
        raise Unencodable(f"object of type {name} is not plain data")


def _as_pydantic_writes_it(value: Any, name: str) -> Any:
    """Urls, paths and other things that stand in pydantic models, and are read back from text."""
    if not hasattr(value, "get_secret_value"):
        try:
            return sys.modules["pydantic_core"].to_jsonable_python(value)
        except Exception as error:
            raise Unencodable(f"object of type {name} is not plain data: {error}") from error
    raise Unencodable(f"object of type {name} is a secret", "Secrets are not stored: pass a name")


def _int(value: int) -> Any:
    if codes.INT_MIN <= value <= codes.INT_MAX:
        return value
    return Ext(codes.BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _str(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Unencodable(
                f"text with a lone surrogate at position {error.start}",
                "Text must be valid Unicode; pass undecoded data as bytes",
            ) from None
    return value


def _list(lowering: Encoding, value: list[Any]) -> list[Any]:
    return lowering.items(value)


def _array_of(code: int) -> Callable[[Encoding, Iterable[Any]], Ext]:
    def lower(lowering: Encoding, value: Iterable[Any]) -> Ext:
        return Ext(code, encode(lowering.items(value)))

    return lower


def _dict(lowering: Encoding, value: dict[Any, Any]) -> Any:
    lowered: dict[Any, Any] = {}
    pairs: list[Any] = []
    native = True
    key: Any = None
    try:
        for key, item in value.items():
            kind = type(key)
            low_key = lowering.lower(key)
            native = native and (kind is str or (kind is int and low_key is key))
            low_item = lowering.lower(item)
            if native:
                lowered[key] = low_item
            pairs.append(low_key)
            pairs.append(low_item)
    except Unencodable as error:
        error.steps.append(key_step(key))
        raise
    return lowered if native else Ext(codes.PAIRS, encode(pairs))


def key_step(key: Any) -> str:
    """A dict's key in a path; the text of any but the simplest may be long, or may itself fail."""
    if type(key) is str or (type(key) is int and abs(key) <= codes.INT_MAX):
        text = repr(key)
        return f"[{text}]" if len(text) <= 80 else f"[{text[:80]}…]"
    return f"[<{type(key).__name__}>]"


def _zoned(code: int) -> Callable[[Encoding, Any], Ext]:
    def lower(_: Encoding, value: dt.datetime | dt.time) -> Ext:
        zone = value.tzinfo
        key = None
        if zone is not None and zone is not dt.UTC:
            if type(zone).__module__.startswith("zoneinfo"):
                key = getattr(zone, "key", None)
            if key is None and value.utcoffset() is None:
                raise Unencodable("a time whose zone has no fixed offset", "Pass a datetime")
        return Ext(code, f"{value.fold}|{value.isoformat()}|{key or ''}".encode())

    return lower


def _date(_: Encoding, value: dt.date) -> Ext:
    return Ext(codes.DATE, value.isoformat().encode())


def _timedelta(_: Encoding, value: dt.timedelta) -> Ext:
    return Ext(codes.TIMEDELTA, encode((value.days, value.seconds, value.microseconds)))


def _decimal(_: Encoding, value: decimal.Decimal) -> Ext:
    return Ext(codes.DECIMAL, str(value).encode())


def _uuid(_: Encoding, value: uuid.UUID) -> Ext:
    return Ext(codes.UUID, value.bytes)


def _enum(lowering: Encoding, value: enum.Enum) -> Ext:
    raw = lowering.fields([("value", value.value)])["value"]
    return Ext(codes.ENUM, encode((type(value).__qualname__, raw)))


def _record(value: Any, fields: Any) -> Ext:
    return Ext(codes.RECORD, encode((type(value).__qualname__, fields)))


def _dataclass(lowering: Encoding, value: Any) -> Ext:
    named = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
    return _record(value, lowering.fields(named))


def _struct(lowering: Encoding, value: msgspec.Struct) -> Ext:
    named = ((name, getattr(value, name)) for name in value.__struct_fields__)
    set_ones = (field for field in named if field[1] is not msgspec.UNSET)
    return _record(value, lowering.fields(set_ones))


def _model(lowering: Encoding, value: Any) -> Ext:
    try:
        dumped = value.model_dump(round_trip=True, warnings=False)
    except Exception as error:
        raise Unencodable(f"{type(value).__qualname__} cannot be dumped: {error}") from error
    lowering.in_model += 1
    try:
        if isinstance(dumped, dict):
            return _record(value, lowering.fields(dumped.items()))
        return _record(value, lowering.lower(dumped))
    finally:
        lowering.in_model -= 1


Lower = Callable[[Encoding, Any], Any]

_LOWER: Final[dict[type, Lower]] = {
    list: _list,
    dict: _dict,
    tuple: _array_of(codes.TUPLE),
    set: _array_of(codes.SET),
    frozenset: _array_of(codes.FROZENSET),
    dt.datetime: _zoned(codes.DATETIME),
    dt.time: _zoned(codes.TIME),
    dt.date: _date,
    dt.timedelta: _timedelta,
    decimal.Decimal: _decimal,
    uuid.UUID: _uuid,
}


@functools.lru_cache(maxsize=1024)
def _lower_of(kind: type) -> Lower | None:
    """How values of a user's own class are lowered; None: they are not plain data."""
    if issubclass(kind, enum.Enum):
        return _enum
    if issubclass(kind, msgspec.Struct):
        return _struct
    if is_model(kind):
        return _model
    if dataclasses.is_dataclass(kind):
        return _dataclass
    if is_named_tuple(kind):
        return _array_of(codes.TUPLE)
    return None


def is_model(kind: type) -> bool:
    """Whether `kind` is a pydantic model, found out without importing pydantic."""
    pydantic = sys.modules.get("pydantic.main")
    return pydantic is not None and issubclass(kind, pydantic.BaseModel)


def is_named_tuple(kind: type) -> bool:
    """Whether `kind` was made by `typing.NamedTuple` or `collections.namedtuple`."""
    return issubclass(kind, tuple) and hasattr(kind, "_fields") and hasattr(kind, "_make")
