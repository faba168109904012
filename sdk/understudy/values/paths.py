"""Paths into values: the place of a fault, for error messages.

A fault is found deep inside a value. On its way up each level appends its own step (`.price`,
`[3]`, `['total']`) to the exception, so that no path is built as long as nothing is wrong.
"""

from __future__ import annotations

from typing import Any, Final

#: characters of a dict's key in a path, before it is cut
_KEY_CHARS_MAX: Final = 80
#: above this an int's text is long, and beyond 4,300 digits Python refuses to make it
_INT_SHOWN_MAX: Final = 2**64 - 1
#: steps of a path that are shown at each of its ends, if it is longer
_STEPS_SHOWN: Final = 10


class LocatedError(Exception):
    """A fault inside a value.

    Parameters
    ----------
    problem
        The fault, without its place.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        #: from the innermost level to the outermost
        self.steps: list[str] = []

    def place(self, what: str, root: str) -> str:
        """Name the place of the fault.

        Parameters
        ----------
        what
            The whole value, for people: ``argument 1 ('order')``.
        root
            The start of the path inside it: ``order``.

        Returns
        -------
        ``argument 1 ('order') at order['total']``, or `what` alone if the whole value is at fault.
        """
        if not self.steps:
            return what
        steps = self.steps[::-1]
        if len(steps) > 2 * _STEPS_SHOWN:
            steps[_STEPS_SHOWN:-_STEPS_SHOWN] = ["…"]
        return f"{what} at {root}{''.join(steps)}"


def key_step(key: Any) -> str:
    """Return the step for a dict's key. Only simple keys are shown.

    The text of any other key may be long, and making it may fail.
    """
    if type(key) is str or (type(key) is int and abs(key) <= _INT_SHOWN_MAX):
        text = repr(key)
        return f"[{text}]" if len(text) <= _KEY_CHARS_MAX else f"[{text[:_KEY_CHARS_MAX]}…]"
    return f"[<{type(key).__name__}>]"
