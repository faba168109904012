"""The causes that a node writes to tasks, for people: one line, short, and always accepted."""

from __future__ import annotations

from typing import Final

from understudy_actors.error_classes import error_class

#: characters of a cause; the store takes more than that
CAUSE_CHARS_MAX: Final = 2000


def printable(text: str) -> str:
    """Return `text` as a cause that the store takes."""
    return "".join(char if char.isprintable() else " " for char in text[:CAUSE_CHARS_MAX])


def failed_attempt(attempt: int, attempts_max: int | None, error: BaseException) -> str:
    """Return the cause of a task whose function raised and is to be tried again.

    Parameters
    ----------
    attempt
        The number of the attempt that failed, from 1.
    attempts_max
        The number of the last one; None if the policy does not say.
    """
    name = error_class(error)
    try:
        message = str(error).strip().partition("\n")[0]
    except BaseException:
        # This is code of the error's class. It raises what it likes, and must not end the node.
        message = ""
    of = "" if attempts_max is None else f" of {attempts_max}"
    return printable(f"attempt {attempt}{of} failed: {name}" + (f": {message}" if message else ""))
