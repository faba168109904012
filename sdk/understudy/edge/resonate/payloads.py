"""Payloads: text of the protocol to stored values, and stored values to such text. Pure.

Their SDKs send base64 of JSON. An invocation is an object with `func`, `args`, and perhaps `kwargs`
and `version`; an error is one with ``"__type": "error"``. The protocol itself says nothing of that,
so any other text must come back as it came, too. It is all stored as `values.foreign` says. The
function of an invocation also goes into our headers, by which tasks are handed out.

What our functions have stored is decoded, and encoded again as JSON: tuples and sets as arrays,
dates and decimals as text, bytes as base64, dataclasses as objects. A pickle is not loaded: an
error stands in its place.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Any, Final

import msgspec

from understudy.edge.resonate.envelope import Refusal
from understudy.values import foreign
from understudy.values.codec import Codec
from understudy_store.records import (
    EMPTY,
    HEADER_FUNCTION,
    HEADER_KIND,
    HEADER_VERSION,
    REJECTED,
    PromiseRecord,
    Value,
)

#: before the name of each header that came through an edge, so that none is taken for one of ours
_PREFIX: Final = "resonate:"
#: no version of a function has more digits
_VERSION_MAX: Final = 2**31

_decode_json: Final = msgspec.json.Decoder().decode
_codec: Final = Codec(pickle=False)


class ValueIn(msgspec.Struct, frozen=True):
    """A param or a value, as it comes."""

    headers: dict[str, str] | None = None
    data: str | None = None


NO_VALUE: Final = ValueIn()


def stored_param(given: ValueIn) -> Value:
    """Return a param as it is stored; an invocation has the headers of a call of ours."""
    return _stored(given, is_param=True)


def stored_value(given: ValueIn) -> Value:
    """Return a value as it is stored."""
    return _stored(given, is_param=False)


def _stored(given: ValueIn, *, is_param: bool) -> Value:
    if given.data is None and not given.headers:
        return EMPTY
    headers = {_PREFIX + name: text for name, text in (given.headers or {}).items()}
    if given.data is None:
        return Value(headers)
    text = _json_text(given.data)
    if text is None:
        return Value(headers, foreign.wrap(foreign.TEXT, _utf8(given.data)))
    try:
        read = _decode_json(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Value(headers, foreign.wrap(foreign.TEXT, _utf8(given.data)))
    if is_param and _is_call(read):
        headers[HEADER_KIND] = "rfi"
        headers[HEADER_FUNCTION] = read["func"]
        version = read.get("version")
        if type(version) is int and 0 < version < _VERSION_MAX:
            headers[HEADER_VERSION] = str(version)
        return Value(headers, foreign.wrap(foreign.CALL, text))
    return Value(headers, foreign.wrap(foreign.JSON, text))


def _json_text(data: str) -> bytes | None:
    """Return what is in base64; None if the same characters would not come back from it."""
    try:
        text = b64decode(data, validate=True)
    except (Base64Error, ValueError):
        return None
    return text if text and b64encode(text) == data.encode() else None


def _utf8(data: str) -> bytes:
    try:
        return data.encode()
    except UnicodeEncodeError:
        raise Refusal(400, "data holds half of a character") from None


def _is_call(read: Any) -> bool:
    """Return whether a function of ours can be called with this."""
    if type(read) is not dict:
        return False
    func, args, kwargs = read.get("func"), read.get("args"), read.get("kwargs")
    has_shape = type(args) in (list, type(None)) and type(kwargs) in (dict, type(None))
    return type(func) is str and func != "" and has_shape


# Out ---------------------------------------------------------------------------------------------


def shown_param(param: Value) -> dict[str, Any]:
    """Return a param as it is shown."""
    data = param.data
    if not param.headers and data is None:
        return {}
    shown = _shown_headers(param)
    if data is None:
        return shown
    text = _foreign_text(data)
    if text is None:
        if HEADER_FUNCTION in param.headers:
            text = _base64(_call_json(param))
        else:
            text = _base64(_json_of(data, is_error=False))
    shown["data"] = text
    return shown


def shown_value(record: PromiseRecord) -> dict[str, Any]:
    """Return the value of a promise as it is shown."""
    value = record.value
    data = value.data
    if not value.headers and data is None:
        return {}
    shown = _shown_headers(value)
    if data is not None:
        text = _foreign_text(data)
        if text is None:
            text = _base64(_json_of(data, is_error=record.state == REJECTED))
        shown["data"] = text
    return shown


def _shown_headers(value: Value) -> dict[str, Any]:
    start = len(_PREFIX)
    headers = {
        name[start:]: text for name, text in value.headers.items() if name.startswith(_PREFIX)
    }
    return {"headers": headers} if headers else {}


def _foreign_text(data: bytes) -> str | None:
    """Return text of theirs as it came; None if the data is ours."""
    found = foreign.unwrap(data)
    if found is None:
        return None
    kind, text = found
    return str(text, "utf-8") if kind == foreign.TEXT else _base64(text)


def _base64(text: bytes) -> str:
    return b64encode(text).decode("ascii")


def _call_json(param: Value) -> bytes:
    """Return an invocation of one of our calls."""
    headers = param.headers
    try:
        args, kwargs = _codec.decode_call(param.data or b"")
        version = int(headers.get(HEADER_VERSION, "1"))
        name = headers[HEADER_FUNCTION]
        return _encode({"func": name, "args": args, "kwargs": kwargs, "version": version})
    except Exception as error:
        return _unreadable(error)


def _json_of(data: bytes, *, is_error: bool) -> bytes:
    """Return one of our values as JSON."""
    try:
        value = _codec.decode_value(data)
        return _encode(_error_of(value) if is_error else value)
    except Exception as error:
        return _unreadable(error)


def _encode(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=_convert)


def _convert(value: Any) -> Any:
    if isinstance(value, BaseException):
        return _error_object(type(value).__qualname__, value)
    raise TypeError(f"a {type(value).__name__} has no form in JSON")


def _error_of(fields: Any) -> dict[str, Any]:
    """Return the reason of a rejection as their SDKs write an error; nothing of it is rebuilt."""
    if type(fields) is dict and {"name", "message"} <= fields.keys():
        return _error_object(fields["name"], fields["message"])
    text = fields if type(fields) is str else _encode(fields).decode()
    return _error_object("Error", text)


def _error_object(name: Any, message: Any) -> dict[str, Any]:
    return {"__type": "error", "name": str(name).rpartition(".")[2], "message": str(message)}


def _unreadable(error: Exception) -> bytes:
    text = f"the value is not plain data, so it cannot be sent as JSON: {error}"
    return _encode({"__type": "error", "name": "EncodingError", "message": text})
