"""Notes on errors whose text, as Python words it, does not lead to the mistake."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_ASYNCIO: Final = (
    "an async def function runs on trio here, not on asyncio: await what works on trio "
    "(trio.sleep, say), or call asyncio code in a plain function, with asyncio.run(...)"
)
_NO_LOOP: Final = ("no running event loop", "There is no current event loop")
_REQUEST: Final = (
    "a request made with ctx was used as if it were its value: write `x = yield ctx...` (or "
    "await), which gives the value"
)
#: Python's message about a call whose arguments do not suit the parameters
_ARGUMENTS: Final = re.compile(r"(?:[\w<>]+\.)*(\w+)\(\) (?:missing \d+ required|takes )")
#: names of the requests in Python's own messages
_REQUESTS: Final = ("'Call'", "'Promise'", "'Sleep'")


def explain(error: BaseException, kind: str, names: Callable[[], list[str]] = list) -> bool:
    """Add a note that says what to change, if the error is one of a known mistake.

    Parameters
    ----------
    error
        The exception that a function raised.
    kind
        The kind of that function: plain, generator or coroutine.
    names
        Returns the names of the durable functions that are known here.

    Returns
    -------
    bool
        True if no further attempt can succeed.
    """
    text = str(error) if type(error) in (RuntimeError, TypeError, AttributeError) else ""
    hopeless = kind == "coroutine" and text.startswith(_NO_LOOP)
    note = _ASYNCIO if hopeless else _REQUEST if any(name in text for name in _REQUESTS) else None
    called = _ARGUMENTS.match(text)
    if called is not None and called[1] in names():
        hopeless = True
        note = (
            f"{called[1]} is a durable function, and was called directly, with arguments that do "
            f"not suit it: write `yield ctx.rpc({called[1]}, ...)` (or await) for a durable call; "
            "a direct call is an ordinary one, and its first argument is ctx"
        )
    # An error that came from a called function has its note already.
    if note is not None and note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    return hopeless
