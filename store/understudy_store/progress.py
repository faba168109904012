"""The progress of a task, as its node tells it. It is kept in memory, never in a store."""

from __future__ import annotations

from typing import Final

import msgspec

#: characters of the text of a progress
PROGRESS_CHARS_MAX: Final = 200


class ProgressRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The progress of a function that runs now.

    Attributes
    ----------
    id
        The promise of the function: the task's own, or that of a step inside it.
    fraction
        The part that is done, from 0 to 1; None: the function does not say.
    text
        A line for people.
    at
        When the broker heard it, epoch milliseconds.
    """

    id: str
    fraction: float | None
    text: str
    at: int
