"""The names of states, as people read and write them.

The store's own names are in JSON, in the API and on the wire. The command line shows the shorter
ones, the same in every table and in ``tree``, and takes both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from understudy.cli.errors import UsageError
from understudy_store.records import PROMISE_STATES, TASK_STATES

#: the states of promises and of tasks: the store's name to the one that is shown
PROMISE_WORDS: Final[dict[str, str]] = {
    state: state.removeprefix("rejected_") for state in PROMISE_STATES
}
TASK_WORDS: Final[dict[str, str]] = {state: state for state in TASK_STATES} | {
    "pending": "queued",
    "acquired": "running",
    "suspended": "waiting",
}


def choices(words: Mapping[str, str]) -> str:
    """Return the states to choose from, for help and messages."""
    return ", ".join(words.values())


def stored(state: str | None, words: Mapping[str, str]) -> str | None:
    """Return the store's name of a state that was given with ``--state``.

    Raises
    ------
    UsageError
        It is none of `words`, nor the store's name of one.
    """
    if state is None or state in words:
        return state
    for name, word in words.items():
        if word == state:
            return name
    raise UsageError(f"--state {state!r} does not exist: choose one of {choices(words)}")
