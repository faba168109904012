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
from collections.abc import Callable
from typing import Any, Final

import msgspec

from understudy.edge.resonate.envelope import Refusal
from understudy.values import foreign
from understudy.values.codec import Codec
from understudy_store.limits import Limits
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

_LIMITS: Final = Limits()
#: Ours need some room beside those that came.
_HEADERS_MAX: Final = _LIMITS.tags_max - 8
_NAME_MAX: Final = _LIMITS.tag_chars_max - len(_PREFIX)

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
    headers, packed = _stored_headers(given.headers or {})
    if given.data is None:
        return Value(headers, foreign.wrap(foreign.NOTHING, b"", packed) if packed else None)
    text = _json_text(given.data)
    read: Any = None
    try:
        if text is not None:
            read = _decode_json(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = None
    if text is None:
        return Value(headers, foreign.wrap(foreign.TEXT, _utf8(given.data), packed))
    if is_param and _is_call(read):
        headers[HEADER_KIND] = "rfi"
        headers[HEADER_FUNCTION] = read["func"]
        version = read.get("version")
        if type(version) is int and 0 < version < _VERSION_MAX:
            headers[HEADER_VERSION] = str(version)
        return Value(headers, foreign.wrap(foreign.CALL, text, packed))
    return Value(headers, foreign.wrap(foreign.JSON, text, packed))


def _stored_headers(given: dict[str, str]) -> tuple[dict[str, str], bytes]:
    """Return headers as they are stored; JSON of them if they are too many, or too long for that.

    Their SDKs of version 0.6 keep a pickle of each argument and result there.
    """
    if len(given) > _HEADERS_MAX or any(
        len(text) > _LIMITS.header_chars_max or len(name) > _NAME_MAX
        for name, text in given.items()
    ):
        return {}, msgspec.json.encode(given)
    return {_PREFIX + name: text for name, text in given.items()}, b""


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
    if not param.headers and param.data is None:
        return {}
    make = _call_json if HEADER_FUNCTION in param.headers else _value_json
    return _shown(param, make)


def shown_value(record: PromiseRecord, *, legacy: bool = False) -> dict[str, Any]:
    """Return the value of a promise as it is shown.

    Parameters
    ----------
    legacy
        Write errors of ours for SDKs of versions 0.5 and 0.6.
    """
    value = record.value
    if not value.headers and value.data is None:
        return {}
    if record.state != REJECTED:
        return _shown(value, _value_json)
    return _shown(value, _legacy_error_json if legacy else _error_json)


def _shown(value: Value, make: Callable[[Value], bytes]) -> dict[str, Any]:
    """Return a param or a value; `make` returns JSON of ours."""
    start = len(_PREFIX)
    headers = {
        name[start:]: text for name, text in value.headers.items() if name.startswith(_PREFIX)
    }
    data: str | None = None
    if value.data is not None:
        found = foreign.unwrap(value.data)
        if found is None:
            data = _base64(_or_unreadable(make, value))
        else:
            kind, text, packed = found
            headers = _decode_json(packed) if packed else headers
            if kind == foreign.TEXT:
                data = str(text, "utf-8")
            elif kind != foreign.NOTHING:
                data = _base64(text)
    shown: dict[str, Any] = {}
    if headers:
        shown["headers"] = headers
    if data is not None:
        shown["data"] = data
    return shown


def _base64(text: bytes) -> str:
    return b64encode(text).decode("ascii")


def _call_json(param: Value) -> bytes:
    """Return an invocation of one of our calls."""
    headers = param.headers
    args, kwargs = _codec.decode_call(param.data or b"")
    version = int(headers.get(HEADER_VERSION, "1"))
    name = headers[HEADER_FUNCTION]
    return _encode({"func": name, "args": args, "kwargs": kwargs, "version": version})


def _value_json(value: Value) -> bytes:
    return _encode(_codec.decode_value(value.data))


def _error_json(value: Value) -> bytes:
    return _encode(_error_of(_codec.decode_value(value.data)))


def _legacy_error_json(value: Value) -> bytes:
    """Return a rejection that versions 0.6 and 0.5 of their SDK also take for an error."""
    found = _error_of(_codec.decode_value(value.data))
    message = found["message"]
    kind = {"type": "Exception", "module": "builtins", "args": [message]}
    return _encode({**found, "__error__": message, "__exception__": True, **kind})


def _or_unreadable(make: Callable[[Value], bytes], value: Value) -> bytes:
    """Return JSON of ours, or what says that there can be none."""
    try:
        return make(value)
    except Exception as error:
        text = f"the value is not plain data, so it cannot be sent as JSON: {error}"
        return _encode(_error_object("EncodingError", text))


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
