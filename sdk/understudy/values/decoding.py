"""Extension types back to Python values: what msgspec's decoder calls for each.

There are two ways to read enums and records. Without a hint they become their raw value and a dict.
With one they first become a `Tagged`, from which the hint's plan builds the very type.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable
from typing import Any, Final

import msgspec

from understudy.values import _codes as codes
from understudy.values import _pickle


class Refused(Exception):
    """The data is well formed and yet will not be decoded; the message says why."""


class Tagged:
    """An enum's value or a record's fields, with the qualified name of the class it was."""

    __slots__ = ("name", "value", "is_enum")

    def __init__(self, name: str, value: Any, is_enum: bool) -> None:
        self.name = name
        self.value = value
        self.is_enum = is_enum


class Decoding:
    """A decoder: `decode(data)` returns the value, or raises any `Exception`.

    Parameters
    ----------
    pickle
        Whether pickled data is read, which runs whatever code its sender chose.
    tagged
        Whether enums and records come out as `Tagged`.
    """

    __slots__ = ("decode", "_pickle", "_tagged")

    def __init__(self, *, pickle: bool, tagged: bool) -> None:
        self._pickle = pickle
        self._tagged = tagged
        self.decode: Final = msgspec.msgpack.Decoder(ext_hook=self._lift).decode

    def _lift(self, code: int, data: memoryview) -> Any:
        plain = _PLAIN.get(code)
        if plain is not None:
            return plain(data)
        if code == codes.PICKLE:
            return self._unpickled(data)
        inner = self.decode(data)
        if type(inner) is not list:
            raise Refused(f"extension type {code} holds no array")
        if code == codes.TUPLE:
            return tuple(inner)
        if code == codes.SET:
            return hashed(set, inner)
        if code == codes.FROZENSET:
            return hashed(frozenset, inner)
        if code == codes.PAIRS:
            return _dict(inner)
        if code in (codes.ENUM, codes.RECORD):
            name, value = inner
            if type(name) is not str:
                raise Refused("a class name that is no text")
            return Tagged(name, value, code == codes.ENUM) if self._tagged else value
        raise Refused(f"unknown extension type {code}: a newer version may have written it")

    def _unpickled(self, data: memoryview) -> Any:
        if not self._pickle:
            raise Refused(
                "it is pickled, and unpickling runs code of the sender's choice. If you trust the "
                "sender, use Runtime(pickle=True); else pass plain data"
            )
        try:
            return _pickle.loads(data)
        except Exception as error:
            raise Refused(f"cannot be unpickled: {type(error).__name__}: {error}") from error


def hashed(make: Callable[[list[Any]], Any], items: list[Any]) -> Any:
    """`make(items)`; `Refused` if they cannot be hashed."""
    try:
        return make(items)
    except TypeError:
        raise Refused(
            "a set or a dict's keys hold records, which without their class cannot be hashed. "
            "Annotate the parameter or the result with the class"
        ) from None


def _dict(pairs: list[Any]) -> dict[Any, Any]:
    keys = iter(pairs)
    made: dict[Any, Any] = hashed(lambda _: dict(zip(keys, keys, strict=True)), pairs)
    return made


def _zone_and_text(data: memoryview) -> tuple[str, str, str]:
    fold, text, key = str(data, "utf-8").split("|", 2)
    if fold not in ("0", "1"):
        raise Refused("a fold that is neither 0 nor 1")
    return fold, text, key


def _zone(key: str) -> dt.tzinfo | None:
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(key)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _datetime(data: memoryview) -> dt.datetime:
    fold, text, key = _zone_and_text(data)
    value = dt.datetime.fromisoformat(text)
    zone = _zone(key) if key else None
    # where the zone is not known the offset that it had still tells the very instant
    return value.replace(fold=int(fold), tzinfo=zone or value.tzinfo)


def _time(data: memoryview) -> dt.time:
    fold, text, key = _zone_and_text(data)
    value = dt.time.fromisoformat(text)
    zone = _zone(key) if key else None
    if key and zone is None:
        raise Refused(f"time zone {key!r} is not known here: install the package tzdata")
    return value.replace(fold=int(fold), tzinfo=zone or value.tzinfo)


def _timedelta(data: memoryview) -> dt.timedelta:
    days, seconds, microseconds = msgspec.msgpack.decode(data, type=tuple[int, int, int])
    return dt.timedelta(days, seconds, microseconds)


_PLAIN: Final[dict[int, Callable[[memoryview], Any]]] = {
    codes.BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    codes.DATETIME: _datetime,
    codes.TIME: _time,
    codes.DATE: lambda data: dt.date.fromisoformat(str(data, "utf-8")),
    codes.TIMEDELTA: _timedelta,
    codes.DECIMAL: lambda data: decimal.Decimal(str(data, "utf-8")),
    codes.UUID: lambda data: uuid.UUID(bytes=bytes(data)),
}
