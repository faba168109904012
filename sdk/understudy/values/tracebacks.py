"""Tracebacks as text, without the interpreter's own frames."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Final

import understudy_actors
from understudy.errors import RemoteTraceback, UnknownFunctionError
from understudy.values.attributes import error_cause, error_context, hides_context

#: the folder of the interpreter, whose frames are left out of tracebacks
_ACTORS: Final = f"{Path(understudy_actors.__file__).parent}{os.sep}"

#: causes that are followed to their end
_CAUSES_MAX: Final = 1000


def first_cause(error: BaseException) -> BaseException:
    """Return the exception at the end of the chain of causes; `error` itself if it has none."""
    for _ in range(_CAUSES_MAX):
        cause = error_cause(error)
        if cause is None:
            break
        error = cause
    return error


def traceback_text(error: BaseException) -> str:
    """Return the traceback without the interpreter's frames; empty if no function was reached.

    The frames above the function's first line are left out and, if the error came from a call, so
    are those below the line that waited for the call.
    """
    if isinstance(error, UnknownFunctionError) and error_cause(error) is None:
        return ""
    try:
        shown = traceback.TracebackException.from_exception(error)
    except Exception:
        # Python reads attributes (``__notes__``) by way of the class, whose code may raise.
        return _frames_text(error)
    _leave_out_interpreter(shown, error, set())
    return "".join(shown.format())


def _frames_text(error: BaseException) -> str:
    """Return the traceback alone, without causes and notes."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = traceback.format_list([f for f in frames if not f.filename.startswith(_ACTORS)])
    title = f"{type(error).__module__}.{type(error).__qualname__}: {error}\n"
    return "".join(["Traceback (most recent call last):\n", *lines, title])


def cause_text(error: BaseException) -> str:
    """Return the class and the message of an error's cause, or of its context; may be empty."""
    cause = error_cause(error)
    if cause is None and not hides_context(error):
        cause = error_context(error)
    if cause is None or isinstance(cause, RemoteTraceback):
        return ""
    return "".join(traceback.format_exception_only(cause)).rstrip()


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
        if isinstance(first_cause(error), RemoteTraceback):
            last -= are_interpreters[::-1].index(False)
        shown.stack[:] = shown.stack[first:last]
    for part, cause in (
        (shown.__cause__, error_cause(error)),
        (shown.__context__, error_context(error)),
    ):
        if part is not None and cause is not None:
            _leave_out_interpreter(part, cause, seen)
