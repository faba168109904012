"""Exceptions to bytes and back.

On the wire an exception is a dict: the class (`module`, `name`), the `message`, the `traceback` as
text, and if they are plain data the constructor's `args` and the attributes (`state`), each
encoded on its own, so that one of them that cannot be read does not spoil the rest. It is bounded
whatever the exception holds, and encoding it never fails: it runs where something has already gone
wrong.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import understudy_actors
from understudy.errors import RemoteError, RemoteTraceback, UnknownFunctionError
from understudy.values import _pickle
from understudy.values.encoding import Encoding, encode

if TYPE_CHECKING:
    from understudy.values.codec import Buffer, Codec

TEXT_CHARS_MAX: Final = 16 * 1024
NOTES_MAX: Final = 16
NOTE_CHARS_MAX: Final = 1024

#: where the interpreter is
_ACTORS: Final = f"{Path(understudy_actors.__file__).parent}{os.sep}"

#: raised inside a generator these mean something to Python itself
_NEVER_REBUILT: Final = (StopIteration, StopAsyncIteration)


def encode_failure(codec: Codec, error: BaseException) -> bytes:
    """Encode `error`; never raises."""
    if isinstance(error, RemoteError) and error._wire is not None:
        return error._wire
    kind = type(error)
    essence: dict[str, Any] = {
        "module": _text(lambda: kind.__module__, NOTE_CHARS_MAX),
        "name": _text(lambda: kind.__qualname__, NOTE_CHARS_MAX),
        "message": _text(lambda: str(error)),
    }
    # the end of a traceback is where it happened
    story = essence | {
        "traceback": _text(lambda: _story(error), tail=True),
        "args_repr": _text(lambda: repr(error.args), NOTE_CHARS_MAX),
        "notes": _notes(error),
        "cause": _cause(error),
    }
    whole = story | _matter(codec, error)
    for fields in (whole, story):
        data = encode(fields)
        if len(data) <= codec.payload_bytes_max:
            return data
    return encode(essence | {"message": essence["message"][:NOTE_CHARS_MAX]})


def decode_failure(codec: Codec, data: Buffer | None) -> BaseException:
    """Rebuild an exception, or make a `RemoteError`; raises `DecodingError`."""
    if data is None:
        return RemoteError("unknown", "rejected without a value")
    fields = codec.decode_value(data, what="the error")
    if type(fields) is not dict or not _is_failure(fields):
        # some other client rejected the promise with a value of its own
        return RemoteError("unknown", _text(lambda: str(fields)))
    made = _unpickled(codec, fields) or _rebuilt(codec, fields) or _remote(fields, data)
    story = fields.get("traceback", "")
    cause = fields.get("cause", "")
    if cause and cause not in story:
        story = f"(caused by) {cause}\n…\n{story}"
    if story:
        # as it is done for every object, since a frozen dataclass may be an exception too
        object.__setattr__(made, "__cause__", RemoteTraceback(story))
    if notes := fields.get("notes"):
        object.__setattr__(made, "__notes__", notes)
    return made


def _story(error: BaseException) -> str:
    """Its traceback, without what the interpreter did before the function's first line and, where
    it came from a call, after the line that waited for that; empty where none was reached."""
    if isinstance(error, UnknownFunctionError) and error.__cause__ is None:
        return ""
    shown = traceback.TracebackException.from_exception(error)
    _leave_out(shown, error, set())
    return "".join(shown.format())


def _leave_out(shown: traceback.TracebackException, error: BaseException, seen: set[int]) -> None:
    if id(error) in seen:
        return
    seen.add(id(error))
    ours = [frame.filename.startswith(_ACTORS) for frame in shown.stack]
    if False in ours:
        first = ours.index(False)
        last = len(ours)
        if isinstance(error.__cause__, RemoteTraceback):
            last -= ours[::-1].index(False)
        shown.stack[:] = shown.stack[first:last]
    for part, cause in (
        (shown.__cause__, error.__cause__),
        (shown.__context__, error.__context__),
    ):
        if part is not None and cause is not None:
            _leave_out(part, cause, seen)


def _text(make: Callable[[], str], chars_max: int = TEXT_CHARS_MAX, *, tail: bool = False) -> str:
    try:
        text = str(make())
        if len(text) > chars_max:
            text = f"…{text[1 - chars_max :]}" if tail else f"{text[: chars_max - 1]}…"
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


def _matter(codec: Codec, error: BaseException) -> dict[str, Any]:
    """What the exception is rebuilt from, as far as it can be encoded."""
    args = _encoded(codec, _constructor_args(error))
    if args is None:
        pickled = _pickled(error) if codec.pickle else None
        return {} if pickled is None else {"pickled": pickled}
    matter: dict[str, Any] = {"args": args}
    state = {}
    for name, value in getattr(error, "__dict__", {}).items():
        if not name.startswith("__"):
            data = _encoded(codec, value)
            if data is not None:
                state[_text(partial(str, name))] = data
    if state:
        matter["state"] = state
    return matter


def _constructor_args(error: BaseException) -> tuple[Any, ...]:
    """`args` are not always what the constructor takes: an OSError leaves the file's name out."""
    try:
        reduced = error.__reduce__()
    except Exception:
        return error.args
    if isinstance(reduced, tuple) and reduced[0] is type(error) and type(reduced[1]) is tuple:
        return reduced[1]
    return error.args


def _encoded(codec: Codec, value: Any) -> bytes | None:
    try:
        data = encode(Encoding(False, codec.payload_bytes_max).lower(value))
    except Exception:
        return None
    return data if len(data) <= codec.payload_bytes_max else None


def _pickled(error: BaseException) -> bytes | None:
    try:
        return _pickle.dumps(error)
    except Exception:
        return None


_SHAPE: Final = {
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


def _is_failure(fields: dict[Any, Any]) -> bool:
    if not {"module", "name", "message"} <= fields.keys():
        return False
    for name, value in fields.items():
        if name in _SHAPE and type(value) is not _SHAPE[name]:
            return False
    return all(type(note) is str for note in fields.get("notes", ()))


def _unpickled(codec: Codec, fields: dict[str, Any]) -> Exception | None:
    if not codec.pickle or "pickled" not in fields:
        return None
    try:
        made = _pickle.loads(fields["pickled"])
    except Exception:
        return None
    return made if isinstance(made, Exception) and _may_be_raised(type(made)) else None


def _rebuilt(codec: Codec, fields: dict[str, Any]) -> Exception | None:
    kind = _loaded_class(fields["module"], fields["name"])
    if kind is None or "args" not in fields:
        return None
    try:
        made = kind(*codec.decode_value(fields["args"]))
        if type(made) is not kind or _text(lambda: str(made)) != fields["message"]:
            return None
        for name, data in fields.get("state", {}).items():
            if not name.startswith("__"):
                made.__dict__.setdefault(name, codec.decode_value(data))
    except Exception:
        return None
    return made


def _loaded_class(module: str, name: str) -> type[Exception] | None:
    """The class, if its module is loaded here; nothing is imported because data says so."""
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


def _remote(fields: dict[str, Any], data: Buffer) -> RemoteError:
    made = RemoteError(
        f"{fields['module']}.{fields['name']}",
        fields["message"],
        fields.get("traceback", ""),
        fields.get("args_repr", ""),
    )
    made._wire = bytes(data)
    return made
