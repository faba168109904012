"""Values of other protocols, kept as the text that came, and read as what it says.

Clients of the Resonate protocol send text that is JSON in base64, or anything else. An edge stores
it as one value of the extension type FOREIGN: a byte that says which of these kinds it is, then the
text. So they get back the characters that they sent, and our functions and callers get plain data.
If the byte is a capital letter, headers stand before the text, because there are more of them, or
longer ones, than a value may have: four bytes with their length, and JSON.
Nothing is ever unpickled: what their SDKs have pickled is text here.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.msgpack import Ext

from understudy.values import extension_types

#: a call: a JSON object with `func`, `args` and perhaps `kwargs`
CALL: Final = b"c"
#: JSON of any other kind
JSON: Final = b"v"
#: text that is no JSON in base64
TEXT: Final = b"t"
#: nothing but headers
NOTHING: Final = b"n"

#: keys of errors of their versions 0.6 and 0.5
_OLDER: Final = frozenset({"__error__", "__exception__"})

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_json: Final = msgspec.json.decode
#: first bytes of an extension type in msgpack, and where its code and its content are
_HEADS: Final = {
    0xD4: (1, 2), 0xD5: (1, 2), 0xD6: (1, 2), 0xD7: (1, 2), 0xD8: (1, 2),
    0xC7: (2, 3), 0xC8: (3, 4), 0xC9: (5, 6),
}  # fmt: skip


def wrap(kind: bytes, text: bytes, headers: bytes = b"") -> bytes:
    """Return a value that holds a foreign text, and perhaps JSON of its headers.

    Examples
    --------
    >>> unwrap(wrap(JSON, b"[1]"))
    (b'v', b'[1]', b'')
    >>> unwrap(wrap(TEXT, b"text", b'{"a":"b"}'))
    (b't', b'text', b'{"a":"b"}')
    """
    if headers:
        kind = b"%s%s%s" % (kind.upper(), len(headers).to_bytes(4, "big"), headers)
    return _encode(Ext(extension_types.FOREIGN, kind + text))


def unwrap(data: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return what `wrap` was given to make this value; None if it is of our own format."""
    places = _HEADS.get(data[0]) if data else None
    if places is None or len(data) <= places[1] or data[places[0]] != extension_types.FOREIGN:
        return None
    return _split(data[places[1] :])


def _split(content: bytes) -> tuple[bytes, bytes, bytes]:
    kind = content[:1]
    if kind.islower():
        return kind, content[1:], b""
    end = 5 + int.from_bytes(content[1:5], "big")
    return kind.lower(), content[end:], content[5:end]


def read(content: memoryview) -> Any:
    """Return what a foreign value says: plain data; a call as its arguments and keyword arguments.

    Raises
    ------
    ValueError
        It is damaged.
    """
    kind, text, _ = _split(bytes(content))
    if kind == NOTHING:
        return None
    if kind == TEXT:
        return str(text, "utf-8") or None
    value = _decode_json(text)
    if kind != CALL:
        return value
    args, kwargs = value.get("args"), value.get("kwargs")
    return [list(args or ()), dict(kwargs or {})]


def is_error(fields: Any) -> bool:
    """Return whether plain data is an error, as the SDKs of that protocol write one."""
    if type(fields) is not dict:
        return False
    return fields.get("__type") in ("error", "aggregate_error") or not _OLDER.isdisjoint(fields)


def error_fields(fields: dict[str, Any]) -> dict[str, str]:
    """Return such an error as `error_encoding` writes one, of a class that is nowhere loaded."""
    name, message, stack = (fields.get(key) for key in ("name", "message", "stack"))
    if "__error__" in fields:
        message = fields["__error__"]
    elif "__exception__" in fields:
        args = fields.get("args")
        name, message = fields.get("type"), str(args[0]) if args and type(args) is list else ""
    found = {
        "module": "resonate",
        "name": name if isinstance(name, str) and name else "Error",
        "message": message if isinstance(message, str) else "",
    }
    if isinstance(stack, str) and stack:
        found["traceback"] = stack
    return found
