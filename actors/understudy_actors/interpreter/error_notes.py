"""What to say to somebody whose function failed for a reason that Python words badly."""

from __future__ import annotations

from typing import Final

_ASYNCIO: Final = (
    "an async def function runs on trio here, not on asyncio: await what works on trio "
    "(trio.sleep, say), or call asyncio code in a plain function, with asyncio.run(...)"
)
_NO_LOOP: Final = ("no running event loop", "There is no current event loop")
_REQUEST: Final = (
    "what ctx makes was used as if it were its value: write `x = yield ctx...` (or await), which "
    "gives the value"
)
#: how Python names them in its own messages
_REQUESTS: Final = ("'Call'", "'Promise'", "'Sleep'")


def explain(error: BaseException, kind: str) -> bool:
    """Add a note for the programmer, where there is one; whether no other attempt can help.

    Parameters
    ----------
    error
        What a function raised.
    kind
        The function's.
    """
    text = str(error) if type(error) in (RuntimeError, TypeError, AttributeError) else ""
    hopeless = kind == "coroutine" and text.startswith(_NO_LOOP)
    note = _ASYNCIO if hopeless else _REQUEST if any(name in text for name in _REQUESTS) else None
    # it has one already if it came from a function that was called
    if note is not None and note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    return hopeless
