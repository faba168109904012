"""Notes on errors whose text, as Python words it, does not lead to the mistake."""

from __future__ import annotations

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
#: names of the requests in Python's own messages
_REQUESTS: Final = ("'Call'", "'Promise'", "'Sleep'")


def explain(error: BaseException, kind: str) -> bool:
    """Add a note that says what to change, if the error is one of a known mistake.

    Parameters
    ----------
    error
        The exception that a function raised.
    kind
        The kind of that function: plain, generator or coroutine.

    Returns
    -------
    bool
        True if no further attempt can succeed.
    """
    text = str(error) if type(error) in (RuntimeError, TypeError, AttributeError) else ""
    hopeless = kind == "coroutine" and text.startswith(_NO_LOOP)
    note = _ASYNCIO if hopeless else _REQUEST if any(name in text for name in _REQUESTS) else None
    # An error that came from a called function has its note already.
    if note is not None and note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    return hopeless
