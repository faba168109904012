"""Exceptions to bytes.

On the wire an exception is a dict: its class (`module`, `name`), the `message`, the `traceback` as
text, the `notes`, and, each encoded on its own so that one that cannot be read does not spoil the
rest:

============== ===================================================================================
`args`         the tuple of that name
`state`        the attributes in its ``__dict__``
`slots`        the attributes in slots, those of C classes included (the `errno` of an OSError)
`members`      the exceptions of a group
`cause_error`  its ``__cause__``
`context`      its ``__context__``, unless it is hidden by a cause or ``from None``
============== ===================================================================================

What cannot be encoded is left out, and a note says so. The size is bounded whatever the exception
holds. Encoding never fails, because it runs where something has already gone wrong. So what Python
keeps in an exception is read past its class, whose ``__getattr__`` or properties may raise, and
any error of the class's own code (`OF_USERS_CODE`) costs no more than the part that it spoils.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

import msgspec

from understudy.errors import RemoteError, RemoteTraceback
from understudy.values.attributes import (
    OF_USERS_CODE,
    error_cause,
    error_context,
    error_dict,
    hides_context,
    own_attributes,
    slot_attributes,
)
from understudy.values.class_names import main_module
from understudy.values.encoding import Converter, UnencodableError, encode
from understudy.values.tracebacks import cause_text, traceback_text
from understudy.values.validation_errors import is_validation_error, validation_parts

TEXT_CHARS_MAX: Final = 16 * 1024
NOTES_MAX: Final = 16
NOTE_CHARS_MAX: Final = 1024

#: levels of exceptions inside exceptions (members of groups, causes, attributes)
DEPTH_MAX: Final = 10
#: exceptions inside one exception, on all levels
NESTED_MAX: Final = 1000
#: bytes for what surrounds the parts of an exception
_MARGIN_BYTES: Final = 64

#: the object whose attribute was missing; it is there for the interpreter's suggestions
_NOT_MISSED: Final = frozenset({"slots obj"})


def encode_error(error: BaseException, *, pickle: bool, payload_bytes_max: int) -> bytes:
    """Encode `error`; never raises, whatever the code of its class does.

    Parameters
    ----------
    pickle
        Whether arguments and attributes that are not plain data are pickled.
    payload_bytes_max
        The largest encoding allowed, in bytes. The largest arguments and attributes are left out
        first, then the traceback.
    """
    try:
        return _ErrorEncoder(pickle, payload_bytes_max).encode(error, with_traceback=True)
    except OF_USERS_CODE:
        # Only code of a class that defies every other precaution gets here.
        return encode(_essentials(error))


class _ErrorEncoder:
    """The encoding of one exception, with those inside it."""

    def __init__(self, pickle: bool, payload_bytes_max: int) -> None:
        self.pickle = pickle
        self.payload_bytes_max = payload_bytes_max
        self.nested_left = NESTED_MAX
        self.depth = 0

    def encode(self, error: BaseException, *, with_traceback: bool = False) -> bytes:
        if isinstance(error, RemoteError) and error.received is not None:
            return _received(error, error.received)
        essentials = _essentials(error)
        notes = _notes(error)
        described = essentials | {
            # The end of a traceback is the interesting part: the line that raised.
            "traceback": text(lambda: traceback_text(error), keep_end=True)
            if with_traceback
            else "",
            "args_repr": text(lambda: repr(_args(error)), NOTE_CHARS_MAX),
            "notes": notes,
            "cause": text(lambda: cause_text(error), NOTE_CHARS_MAX) if with_traceback else "",
        }
        if essentials["module"] == "__main__":
            described["main"] = text(main_module, NOTE_CHARS_MAX)
        room = self.payload_bytes_max - len(encode(described)) - _MARGIN_BYTES
        content, lost = self._content(error, room)
        if lost:
            described["notes"] = [*notes, text(lambda: _loss_note(lost), NOTE_CHARS_MAX)]
        for fields in (described | content, described):
            data = encode(fields)
            if len(data) <= self.payload_bytes_max:
                return data
        return encode(essentials | {"message": essentials["message"][:NOTE_CHARS_MAX]})

    def _content(self, error: BaseException, room: int) -> tuple[dict[str, Any], dict[str, str]]:
        """Return what the exception is rebuilt from, and what is left out, with the reasons."""
        parts: dict[str, bytes] = {}
        lost: dict[str, str] = {}
        for place, value in _values_of(error):
            try:
                parts[place] = self._part(value)
            except UnencodableError as problem:
                lost[place] = f"{''.join(reversed(problem.steps))} {problem.problem}".strip()
            except OF_USERS_CODE as problem:
                lost[place] = f"{type(problem).__name__}: {text(partial(str, problem))}"
        for place in self._surplus(parts, room):
            lost[place] = f"{len(parts.pop(place)):,} bytes are too large"
        content: dict[str, Any] = {"state": {}, "slots": {}}
        for place, data in parts.items():
            group, _, name = place.partition(" ")
            if name:
                content[group][name] = data
            else:
                content[group] = data
        if hides_context(error):
            content["hides_context"] = True
        return content, {place: why for place, why in lost.items() if place not in _NOT_MISSED}

    def _surplus(self, parts: dict[str, bytes], room: int) -> Iterable[str]:
        """Yield the largest parts, until the others fit into `room` bytes."""
        total = sum(len(place) + len(data) + 10 for place, data in parts.items())
        for place in sorted(parts, key=lambda place: -len(parts[place])):
            if total <= room:
                return
            total -= len(place) + len(parts[place]) + 10
            yield place

    def _part(self, value: Any) -> bytes:
        converter = Converter(self.pickle, self.payload_bytes_max, self._nested)
        return encode(converter.convert(value))

    def _nested(self, error: BaseException) -> bytes:
        """Encode an exception inside another one."""
        if self.depth == DEPTH_MAX or self.nested_left == 0:
            raise UnencodableError("more exceptions inside one than can travel")
        self.nested_left -= 1
        self.depth += 1
        try:
            return self.encode(error)
        finally:
            self.depth -= 1


def _values_of(error: BaseException) -> Iterable[tuple[str, Any]]:
    """Yield the values that an exception is rebuilt from, each with its place on the wire."""
    if is_validation_error(type(error)):
        yield "validation", validation_parts(error)
    elif isinstance(error, BaseExceptionGroup):
        yield "slots message", error.message
        yield "members", list(error.exceptions)
    else:
        yield "args", _args(error)
    for name, value in own_attributes(error, error_dict(error)).items():
        yield f"state {text(partial(str, name))}", value
    if not is_validation_error(type(error)):
        for name, value in slot_attributes(error).items():
            yield f"slots {name}", value
    cause, context = error_cause(error), error_context(error)
    if cause is not None:
        if not isinstance(cause, RemoteTraceback):
            yield "cause_error", cause
    elif context is not None and not hides_context(error):
        yield "context", context


def _essentials(error: BaseException) -> dict[str, Any]:
    kind = type(error)
    return {
        "module": text(lambda: kind.__module__, NOTE_CHARS_MAX),
        "name": text(lambda: kind.__qualname__, NOTE_CHARS_MAX),
        "message": text(lambda: str(error)),
    }


def _args(error: BaseException) -> Any:
    return BaseException.args.__get__(error)  # type: ignore[attr-defined]


def _loss_note(lost: dict[str, str]) -> str:
    """Say which parts of an exception did not travel."""
    return "; ".join(
        f"{place.partition(' ')[2] or place} did not travel: {why}" for place, why in lost.items()
    )


def _received(error: RemoteError, data: bytes) -> bytes:
    """Return the bytes that an exception arrived as, with the notes that were added here."""
    notes = _notes(error)
    try:
        fields = msgspec.msgpack.decode(data)
        if fields.get("notes", []) == notes:
            return data
        return encode(fields | {"notes": notes})
    except Exception:
        return data


def _notes(error: BaseException) -> list[str]:
    notes = error_dict(error).get("__notes__")
    if not isinstance(notes, list):
        return []
    return [text(partial(str, note), NOTE_CHARS_MAX) for note in notes[:NOTES_MAX]]


def text(
    make: Callable[[], str], chars_max: int = TEXT_CHARS_MAX, *, keep_end: bool = False
) -> str:
    """Return `make()`, cut to `chars_max` characters; never raises (see `OF_USERS_CODE`)."""
    try:
        made = str(make())
        if len(made) > chars_max:
            made = f"…{made[1 - chars_max :]}" if keep_end else f"{made[: chars_max - 1]}…"
        return made.encode("utf-8", "backslashreplace").decode()
    except OF_USERS_CODE as error:
        return f"<cannot be shown: {type(error).__name__}>"
