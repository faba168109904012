"""Decoding: msgpack, with its extension types turned back into Python values.

Enums and records can be read in two ways. Without a type hint they become their raw value and a
dict. With a hint they first become a `Tagged`, from which the hint's builder makes the class.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from understudy.errors import DecodingError
from understudy.values import extension_types, foreign, pickles
from understudy.values.collisions import FEW, CollisionError, check_hashes, check_keys
from understudy.values.zones import ZoneError, with_zone

Buffer = bytes | bytearray | memoryview
#: reads a pickle, or an exception, inside the data
Read = Callable[[memoryview], Any]


#: Smaller data has too few keys for the test of `check_keys` to matter.
_SMALL_BYTES: Final = FEW * 8


class RefusedError(Exception):
    """The data is well formed, but is not decoded; the message says why."""


class Tagged:
    """An enum's value or a record's fields, with the name of its class.

    Parameters
    ----------
    name
        The class, as in `class_names.wire_name`.
    value
        What is read without a hint.
    state
        Of a pydantic model: the names of the fields that were set, the extra fields, and the
        private attributes.
    member
        The name of an enum's member, if its value does not tell which it is.
    """

    __slots__ = ("name", "value", "is_enum", "state", "member")

    def __init__(
        self,
        name: str,
        value: Any,
        is_enum: bool,
        state: tuple[Any, Any, Any] | None = None,
        member: str | None = None,
    ) -> None:
        self.name = name
        self.value = value
        self.is_enum = is_enum
        self.state = state
        self.member = member


def refuse_pickle(data: memoryview) -> Any:
    """Raise `RefusedError` instead of unpickling."""
    del data
    raise RefusedError(
        "it is pickled, and unpickling runs code of the sender's choice. If you trust the "
        "sender, use Runtime(pickle=True); else pass plain data"
    )


def refuse_unsealed_pickle(data: memoryview) -> Any:
    """Raise `RefusedError`, because anybody may have put this pickle into the store."""
    del data
    raise RefusedError(
        "it is pickled and not sealed, so others than the holders of a seal key may have made it, "
        "and unpickling would run their code"
    )


def unpickle(data: memoryview) -> Any:
    """Unpickle `data`, which runs any code that its sender chose; raises `RefusedError`."""
    try:
        return pickles.loads(data)
    except Exception as error:
        raise RefusedError(f"cannot be unpickled: {type(error).__name__}: {error}") from error


class Decoder:
    """A decoder of values: `decode(data)` returns the value, or raises any `Exception`.

    Parameters
    ----------
    read_pickle
        Reads a pickle inside the data: `unpickle`, `refuse_pickle`, or a function that returns a
        substitute.
    read_error
        Reads an exception inside the data.
    tagged
        Whether enums and records become `Tagged`.
    """

    __slots__ = ("_decode", "_read_pickle", "_read_error", "_tagged")

    def __init__(self, read_pickle: Read, read_error: Read, *, tagged: bool) -> None:
        self._read_pickle = read_pickle
        self._read_error = read_error
        self._tagged = tagged
        self._decode: Final = msgspec.msgpack.Decoder(ext_hook=self._decode_extension).decode

    def decode(self, data: Buffer) -> Any:
        """Return the value of `data`; raises any `Exception`."""
        if len(data) > _SMALL_BYTES:
            try:
                check_keys(data)
            except CollisionError as error:
                raise RefusedError(str(error)) from None
        return self._decode(data)

    def _decode_extension(self, code: int, data: memoryview) -> Any:
        decode_scalar = _SCALARS.get(code)
        if decode_scalar is not None:
            return decode_scalar(data)
        if code == extension_types.PICKLE:
            return self._read_pickle(data)
        if code == extension_types.ERROR:
            return self._read_error(data)
        inner = self.decode(data)
        if type(inner) is not list:
            raise RefusedError(f"extension type {code} holds no array")
        if code == extension_types.TUPLE:
            return tuple(inner)
        if code == extension_types.SET:
            return make_hashed(set, inner)
        if code == extension_types.FROZENSET:
            return make_hashed(frozenset, inner)
        if code == extension_types.PAIRS:
            return _dict_of_pairs(inner)
        if code in (extension_types.ENUM, extension_types.RECORD):
            name, value, *member = inner
            if type(name) is not str:
                raise RefusedError("a class name is not text")
            if not self._tagged:
                return value
            return Tagged(name, value, code == extension_types.ENUM, None, *member)
        if code == extension_types.MODEL:
            return self._model(*inner)
        raise RefusedError(
            f"extension type {code} is unknown: a newer version of understudy may have written it"
        )

    def _model(self, name: str, fields: Any, names: list[str], extra: Any, private: Any) -> Any:
        if type(name) is not str or type(names) is not list:
            raise RefusedError("a model has no name, or no list of fields")
        if self._tagged:
            return Tagged(name, fields, False, (names, extra, private))
        return fields | extra if type(fields) is dict and type(extra) is dict else fields


def decoding_error(what: str, error: Exception) -> DecodingError:
    """Return the error for users if decoding `what` raised `error`."""
    if isinstance(error, RefusedError):
        return DecodingError(what, str(error))
    return DecodingError(what, f"the data is damaged, or not of this format: {error}")


def make_hashed(make: Callable[[list[Any]], Any], items: list[Any]) -> Any:
    """Return `make(items)`, a set.

    Raises
    ------
    RefusedError
        Items have no hash, or too many have the same one.
    """
    return _hashed(items, lambda: make(items))


def make_dict(keys: list[Any], values: Iterable[Any]) -> dict[Any, Any]:
    """Return a dict; raises as `make_hashed`."""
    made: dict[Any, Any] = _hashed(keys, lambda: dict(zip(keys, values, strict=True)))
    return made


def _hashed(keys: list[Any], make: Callable[[], Any]) -> Any:
    try:
        check_hashes(keys)
        return make()
    except CollisionError as error:
        raise RefusedError(str(error)) from None
    except TypeError:
        raise RefusedError(
            "a set or a dict's keys hold records, which without their class cannot be hashed. "
            "Annotate the parameter or the result with the class"
        ) from None


def _dict_of_pairs(pairs: list[Any]) -> dict[Any, Any]:
    return make_dict(pairs[::2], pairs[1::2])


def _split_time(data: memoryview) -> tuple[str, str, str]:
    """Return fold, text and key of the zone."""
    fold, text, key = str(data, "utf-8").split("|", 2)
    if fold not in ("0", "1"):
        raise RefusedError("a time's fold is neither 0 nor 1")
    return fold, text, key


def _with_zone(value: Any, fold: str, key: str) -> Any:
    try:
        return with_zone(value, key).replace(fold=int(fold))
    except ZoneError as error:
        raise RefusedError(str(error)) from error


def _datetime(data: memoryview) -> dt.datetime:
    fold, text, key = _split_time(data)
    made: dt.datetime = _with_zone(dt.datetime.fromisoformat(text), fold, key)
    return made


def _time(data: memoryview) -> dt.time:
    fold, text, key = _split_time(data)
    made: dt.time = _with_zone(dt.time.fromisoformat(text), fold, key)
    return made


def _timedelta(data: memoryview) -> dt.timedelta:
    days, seconds, microseconds = msgspec.msgpack.decode(data, type=tuple[int, int, int])
    return dt.timedelta(days, seconds, microseconds)


_SCALARS: Final[dict[int, Callable[[memoryview], Any]]] = {
    extension_types.BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    extension_types.DATETIME: _datetime,
    extension_types.TIME: _time,
    extension_types.DATE: lambda data: dt.date.fromisoformat(str(data, "utf-8")),
    extension_types.TIMEDELTA: _timedelta,
    extension_types.DECIMAL: lambda data: decimal.Decimal(str(data, "utf-8")),
    extension_types.UUID: lambda data: uuid.UUID(bytes=bytes(data)),
    extension_types.FOREIGN: foreign.read,
}
