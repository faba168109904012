"""Exceptions to bytes and back.

On the wire an exception is a dict: the class (`module`, `name`), the `message`, the `traceback` as
text, and, if they are plain data, the constructor's `args` and the attributes (`state`). Each of
these is encoded on its own, so that one that cannot be read does not spoil the rest. The size is
bounded whatever the exception holds. Encoding never fails, because it runs where something has
already gone wrong.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import understudy_actors
from understudy.errors import RemoteError, RemoteTraceback, UnknownFunctionError
from understudy.values import pickles
from understudy.values.decoding import Buffer, decoding_error
from understudy.values.encoding import Converter, encode

TEXT_CHARS_MAX: Final = 16 * 1024
NOTES_MAX: Final = 16
NOTE_CHARS_MAX: Final = 1024

#: the folder of the interpreter, whose frames are left out of tracebacks
_ACTORS: Final = f"{Path(understudy_actors.__file__).parent}{os.sep}"

#: Python gives these a meaning of its own when they are raised inside a generator
_NEVER_REBUILT: Final = (StopIteration, StopAsyncIteration)


def encode_error(error: BaseException, *, pickle: bool, payload_bytes_max: int) -> bytes:
    """Encode `error`; never raises.

    Parameters
    ----------
    pickle
        Whether an exception whose arguments are not plain data is pickled.
    payload_bytes_max
        The largest encoding allowed, in bytes. The arguments are left out first, then the
        traceback.
    """
    if isinstance(error, RemoteError) and error.received is not None:
        return error.received
    kind = type(error)
    essentials: dict[str, Any] = {
        "module": _text(lambda: kind.__module__, NOTE_CHARS_MAX),
        "name": _text(lambda: kind.__qualname__, NOTE_CHARS_MAX),
        "message": _text(lambda: str(error)),
    }
    described = essentials | {
        # The end of a traceback is the interesting part: the line that raised.
        "traceback": _text(lambda: _traceback(error), keep_end=True),
        "args_repr": _text(lambda: repr(error.args), NOTE_CHARS_MAX),
        "notes": _notes(error),
        "cause": _cause(error),
    }
    complete = described | _content(error, pickle, payload_bytes_max)
    for fields in (complete, described):
        data = encode(fields)
        if len(data) <= payload_bytes_max:
            return data
    return encode(essentials | {"message": essentials["message"][:NOTE_CHARS_MAX]})


def decode_error(
    data: Buffer | None, decode: Callable[[Buffer], Any], *, unpickles: bool
) -> BaseException:
    """Rebuild an exception, or make a `RemoteError`.

    Parameters
    ----------
    decode
        Decodes a value; may raise any `Exception`.
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
        fields = decode(data)
    except Exception as error:
        raise decoding_error("the error", error) from error
    if type(fields) is not dict or not _are_fields_of_error(fields):
        # Another client rejected the promise with a value of its own.
        return RemoteError("unknown", _text(lambda: str(fields)))
    pickled = fields.get("pickled") if unpickles else None
    made = _unpickle(pickled) or _rebuild(fields, decode) or _remote_error(fields, data)
    shown = fields.get("traceback", "")
    cause = fields.get("cause", "")
    if cause and cause not in shown:
        shown = f"(caused by) {cause}\n…\n{shown}"
    # An exception may be a frozen dataclass, which refuses ordinary assignment.
    if shown:
        object.__setattr__(made, "__cause__", RemoteTraceback(shown))
    if notes := fields.get("notes"):
        object.__setattr__(made, "__notes__", notes)
    return made


# Encoding ----------------------------------------------------------------------------------------


def _traceback(error: BaseException) -> str:
    """Return the traceback without the interpreter's frames; empty if no function was reached.

    The frames above the function's first line are left out and, if the error came from a call, so
    are those below the line that waited for the call.
    """
    if isinstance(error, UnknownFunctionError) and error.__cause__ is None:
        return ""
    shown = traceback.TracebackException.from_exception(error)
    _leave_out_interpreter(shown, error, set())
    return "".join(shown.format())


def _leave_out_interpreter(
    shown: traceback.TracebackException, error: BaseException, seen: set[int]
) -> None:
    if id(error) in seen:
        return
    seen.add(id(error))
    are_interpreters = [frame.filename.startswith(_ACTORS) for frame in shown.stack]
    if False in are_interpreters:
        first = are_interpreters.index(False)
        last = len(are_interpreters)
        if isinstance(error.__cause__, RemoteTraceback):
            last -= are_interpreters[::-1].index(False)
        shown.stack[:] = shown.stack[first:last]
    for part, cause in (
        (shown.__cause__, error.__cause__),
        (shown.__context__, error.__context__),
    ):
        if part is not None and cause is not None:
            _leave_out_interpreter(part, cause, seen)


def _text(
    make: Callable[[], str], chars_max: int = TEXT_CHARS_MAX, *, keep_end: bool = False
) -> str:
    """Return `make()`, cut to `chars_max` characters; never raises."""
    try:
        text = str(make())
        if len(text) > chars_max:
            text = f"…{text[1 - chars_max :]}" if keep_end else f"{text[: chars_max - 1]}…"
        return text.encode("utf-8", "backslashreplace").decode()
    except Exception as error:
        return f"<cannot be shown: {type(error).__name__}>"


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", None)
    if not isinstance(notes, list):
        return []
    return [_text(partial(str, note), NOTE_CHARS_MAX) for note in notes[:NOTES_MAX]]


def _cause(error: BaseException) -> str:
    cause = error.__cause__
    if cause is None and not error.__suppress_context__:
        cause = error.__context__
    if cause is None or isinstance(cause, RemoteTraceback):
        return ""
    lines = traceback.format_exception_only
    return _text(lambda: "".join(lines(cause)).rstrip(), NOTE_CHARS_MAX)


def _content(error: BaseException, pickle: bool, payload_bytes_max: int) -> dict[str, Any]:
    """Return what the exception is rebuilt from, as far as it can be encoded."""
    args = _encode_plain(_constructor_args(error), payload_bytes_max)
    if args is None:
        pickled = _pickle(error) if pickle else None
        return {} if pickled is None else {"pickled": pickled}
    content: dict[str, Any] = {"args": args}
    state = {}
    for name, value in getattr(error, "__dict__", {}).items():
        if not name.startswith("__"):
            data = _encode_plain(value, payload_bytes_max)
            if data is not None:
                state[_text(partial(str, name))] = data
    if state:
        content["state"] = state
    return content


def _constructor_args(error: BaseException) -> tuple[Any, ...]:
    """Return the constructor's arguments.

    They are not always `args`: an OSError leaves the name of its file out of those.
    """
    try:
        reduced = error.__reduce__()
    except Exception:
        return error.args
    if isinstance(reduced, tuple) and reduced[0] is type(error) and type(reduced[1]) is tuple:
        return reduced[1]
    return error.args


def _encode_plain(value: Any, payload_bytes_max: int) -> bytes | None:
    try:
        data = encode(Converter(False, payload_bytes_max).convert(value))
    except Exception:
        return None
    return data if len(data) <= payload_bytes_max else None


def _pickle(error: BaseException) -> bytes | None:
    try:
        return pickles.dumps(error)
    except Exception:
        return None


# Decoding ----------------------------------------------------------------------------------------

_TYPES_OF_FIELDS: Final = {
    "module": str,
    "name": str,
    "message": str,
    "traceback": str,
    "args_repr": str,
    "cause": str,
    "notes": list,
    "args": bytes,
    "state": dict,
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
    if data is None:
        return None
    try:
        made = pickles.loads(data)
    except Exception:
        return None
    return made if isinstance(made, Exception) and _may_be_raised(type(made)) else None


def _rebuild(fields: dict[str, Any], decode: Callable[[Buffer], Any]) -> Exception | None:
    kind = _loaded_class(fields["module"], fields["name"])
    if kind is None or "args" not in fields:
        return None
    try:
        made = kind(*decode(fields["args"]))
        if type(made) is not kind or _text(lambda: str(made)) != fields["message"]:
            return None
        for name, data in fields.get("state", {}).items():
            if not name.startswith("__"):
                made.__dict__.setdefault(name, decode(data))
    except Exception:
        return None
    return made


def _loaded_class(module: str, name: str) -> type[Exception] | None:
    """Return the class if its module is loaded here. Data never causes an import."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if _may_be_raised(found) else None


def _may_be_raised(kind: Any) -> bool:
    return (
        isinstance(kind, type)
        and issubclass(kind, Exception)
        and not issubclass(kind, _NEVER_REBUILT)
    )


def _remote_error(fields: dict[str, Any], data: Buffer) -> RemoteError:
    made = RemoteError(
        f"{fields['module']}.{fields['name']}",
        fields["message"],
        fields.get("traceback", ""),
        fields.get("args_repr", ""),
    )
    made.received = bytes(data)
    return made
