"""Exceptions from bytes (`error_encoding` has the format).

An exception is rebuilt as an object of its own class if this process has loaded that class. It gets
the attributes that it had. Its constructor is not called, because nobody knows with what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from understudy.errors import RemoteError, RemoteTraceback
from understudy.values import foreign, pickles
from understudy.values.attributes import (
    blank,
    error_dict,
    is_dunder,
    is_made_by_python,
    slots_of,
)
from understudy.values.class_names import loaded_exception, may_be_raised
from understudy.values.decoding import Buffer, decoding_error
from understudy.values.error_encoding import NOTE_CHARS_MAX, text
from understudy.values.tracebacks import first_cause
from understudy.values.validation_errors import build_validation_error, is_validation_error

# Assignment would call the `__setattr__` of a class, which may refuse it or change the value.
_ARGS: Final[Any] = vars(BaseException)["args"]
_CAUSE: Final[Any] = vars(BaseException)["__cause__"]
_CONTEXT: Final[Any] = vars(BaseException)["__context__"]
_HIDES_CONTEXT: Final[Any] = vars(BaseException)["__suppress_context__"]

#: decodes a value; may raise any `Exception`
Decode = Callable[[Buffer], Any]


def decode_error(
    data: Buffer | None, decode_fields: Decode, decode: Decode, *, unpickles: bool
) -> BaseException:
    """Rebuild an exception, or make a `RemoteError`.

    Parameters
    ----------
    decode_fields
        Decodes the dict that an exception is on the wire.
    decode
        Decodes an argument or an attribute, with its classes rebuilt if they are loaded.
    unpickles
        Whether a pickled exception is unpickled.

    Raises
    ------
    DecodingError
        The data cannot be decoded at all.
    """
    if data is None:
        return RemoteError("unknown", "rejected without a value")
    try:
        fields = decode_fields(data)
    except Exception as error:
        raise decoding_error("the error", error) from error
    if foreign.is_error(fields):
        fields = foreign.error_fields(fields)
        data = msgspec.msgpack.encode(fields)
    if type(fields) is not dict or not _are_fields_of_error(fields):
        # Another client rejected the promise with a value of its own.
        return RemoteError("unknown", text(lambda: str(fields)))
    lost: list[str] = []
    pickled = fields.get("pickled") if unpickles else None
    made = _unpickle(pickled) or _rebuild(fields, decode, lost)
    if made is None:
        made, lost = _remote_error(fields, data), []
    _set_causes(made, fields, decode)
    if notes := [*fields.get("notes", ()), *lost]:
        _set_notes(made, notes)
    return made


_TYPES_OF_FIELDS: Final = {
    "module": str,
    "name": str,
    "main": str,
    "message": str,
    "traceback": str,
    "args_repr": str,
    "cause": str,
    "notes": list,
    "args": bytes,
    "state": dict,
    "slots": dict,
    "members": bytes,
    "validation": bytes,
    "cause_error": bytes,
    "context": bytes,
    "hides_context": bool,
    "pickled": bytes,
}


def _are_fields_of_error(fields: dict[Any, Any]) -> bool:
    if not {"module", "name", "message"} <= fields.keys():
        return False
    for name, value in fields.items():
        if name in _TYPES_OF_FIELDS and type(value) is not _TYPES_OF_FIELDS[name]:
            return False
    return all(type(note) is str for note in fields.get("notes", ()))


def _unpickle(data: bytes | None) -> Exception | None:
    """Load an exception that an earlier version has pickled as a whole."""
    if data is None:
        return None
    try:
        made = pickles.loads(data)
    except Exception:
        return None
    return made if isinstance(made, Exception) and may_be_raised(type(made)) else None


def _rebuild(fields: dict[str, Any], decode: Decode, lost: list[str]) -> Exception | None:
    kind: Any = loaded_exception(fields["module"], fields["name"], fields.get("main", ""))
    if kind is None:
        return None
    slots = _decoded(fields.get("slots", {}), decode, lost)
    try:
        made = _made(kind, fields, slots, decode, lost)
    except Exception:
        return None
    for name, value in slots.items():
        descriptor = slots_of(kind).get(name)
        try:
            if descriptor is not None:
                descriptor.__set__(made, value)
        except Exception as error:
            lost.append(_loss(name, error))
    error_dict(made).update(_decoded(fields.get("state", {}), decode, lost))
    return made


def _made(
    kind: type[Exception],
    fields: dict[str, Any],
    slots: dict[str, Any],
    decode: Decode,
    lost: list[str],
) -> Exception:
    """Make an exception with its arguments, and without its attributes."""
    made: Exception
    if is_validation_error(kind):
        made = build_validation_error(decode(fields["validation"]))
        # What builds it leaves its own arguments there; those that pydantic raises have none.
        _ARGS.__set__(made, ())
        return made
    if issubclass(kind, ExceptionGroup):
        made = blank(kind, slots.pop("message"), decode(fields["members"]))
        return made
    args: Any = None
    if "args" in fields:
        try:
            args = decode(fields["args"])
        except Exception as error:
            lost.append(_loss("args", error))
    if type(args) is not tuple:
        # The text is all that is known of them.
        args = (fields["message"],)
    made = blank(kind)
    if "slots" not in fields:
        # An earlier version has written the arguments for the constructor. That of the C class
        # is the only one that is known to do no more than to set attributes.
        base = next(owner for owner in kind.__mro__ if not is_made_by_python(owner))
        made = blank(kind, *args)
        base.__init__(made, *args)  # type: ignore[misc]
    if "slots" in fields or not made.args:
        _ARGS.__set__(made, args)
    return made


def _decoded(parts: dict[Any, Any], decode: Decode, lost: list[str]) -> dict[str, Any]:
    """Decode attributes; those that cannot be read are left out, and `lost` gets a note of each."""
    found = {}
    for name, data in parts.items():
        if type(name) is str and type(data) is bytes and not is_dunder(name):
            try:
                found[name] = decode(data)
            except Exception as error:
                lost.append(_loss(name, error))
    return found


def _loss(name: str, error: Exception) -> str:
    return text(lambda: f"{name} cannot be read here: {error}", NOTE_CHARS_MAX)


def _set_causes(made: BaseException, fields: dict[str, Any], decode: Decode) -> None:
    """Set the cause and the context that `made` had, and the traceback as the first cause."""
    cause, context = (_chained(fields.get(name), decode) for name in ("cause_error", "context"))
    if context is not None:
        _CONTEXT.__set__(made, context)
    if cause is not None:
        _CAUSE.__set__(made, cause)
    shown = fields.get("traceback", "")
    told = fields.get("cause", "")
    if told and told not in shown:
        shown = f"(caused by) {told}\n…\n{shown}"
    if shown:
        _CAUSE.__set__(first_cause(made), RemoteTraceback(shown))
    elif fields.get("hides_context"):
        _HIDES_CONTEXT.__set__(made, True)


def _set_notes(made: BaseException, notes: list[str]) -> None:
    error_dict(made)["__notes__"] = notes


def _chained(data: bytes | None, decode: Decode) -> BaseException | None:
    if data is None:
        return None
    try:
        found = decode(data)
    except Exception:
        return None
    return found if isinstance(found, BaseException) else None


def _remote_error(fields: dict[str, Any], data: Buffer) -> RemoteError:
    made = RemoteError(
        f"{fields['module']}.{fields['name']}",
        fields["message"],
        fields.get("traceback", ""),
        fields.get("args_repr", ""),
    )
    made.received = bytes(data)
    return made
