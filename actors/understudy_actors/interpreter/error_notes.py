"""Notes on errors whose text, as Python words it, does not lead to the mistake."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from understudy_actors.interpreter.ports import LOOPS, Kind, LoopName

#: how errors of a library for the other loop begin, by the loop that the function runs on
_OF_OTHER_LOOP: Final[dict[LoopName, tuple[str, ...]]] = {
    "trio": (
        "no running event loop",
        "There is no current event loop",
        "trio.run received unrecognized yield message",
    ),
    "asyncio": ("must be called from async context", "Task got bad yield"),
}
_REQUEST: Final = (
    "a request made with ctx was used as if it were its value: write `x = yield ctx...` (or "
    "await), which gives the value"
)
#: Python's message about a call whose arguments do not suit the parameters
_ARGUMENTS: Final = re.compile(r"(?:[\w<>]+\.)*(\w+)\(\) (?:missing \d+ required|takes )")
#: names of the requests in Python's own messages
_REQUESTS: Final = ("'Call'", "'Promise'", "'Sleep'")


def explain(
    error: BaseException, kind: Kind, loop: LoopName, names: Callable[[], list[str]] = list
) -> bool:
    """Add a note that says what to change, if the error is one of a known mistake.

    Parameters
    ----------
    error
        The exception that a function raised.
    kind
        The kind of that function.
    loop
        The loop that runs it if it is a coroutine.
    names
        Returns the names of the durable functions that are known here.

    Returns
    -------
    bool
        True if no further attempt can succeed.
    """
    text = _message(error) if type(error) in (RuntimeError, TypeError, AttributeError) else ""
    hopeless = kind == "coroutine" and text.startswith(_OF_OTHER_LOOP[loop])
    note = _REQUEST if any(name in text for name in _REQUESTS) else None
    if hopeless:
        other = next(name for name in LOOPS if name != loop)
        note = (
            f"this async def function runs on {loop} here, and awaits what works on {other}: "
            f'register it with loop="{other}" (or say Runtime(loop="{other}") for all of them), '
            f"or await what works on {loop}"
        )
    called = _ARGUMENTS.match(text)
    if called is not None and called[1] in names():
        hopeless = True
        note = (
            f"{called[1]} is a durable function, and was called directly, with arguments that do "
            f"not suit it: write `yield ctx.rpc({called[1]}, ...)` (or await) for a durable call; "
            "a direct call is an ordinary one, and its first argument is ctx"
        )
    # An error that came from a called function has its note already.
    if note is not None:
        annotate(error, note)
    return hopeless


def annotate(error: BaseException, note: str) -> None:
    """Add a note, once. An error whose class does not let itself be annotated stays as it is."""
    with suppress(BaseException):
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:
        # The message of an error is code of its arguments, which raises what it likes.
        return ""
