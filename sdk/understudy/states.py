"""The names of states, as people read and write them: one set for tables, JSON and Python.

The store and the wire have longer names, or others, which came first (those of the Resonate
specification); docs/semantics.md uses them. Whoever names a state may use either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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


def stored_name(state: str, words: Mapping[str, str]) -> str | None:
    """Return the store's name of a state under either of its names; None if it is no state."""
    if state in words:
        return state
    return next((name for name, word in words.items() if word == state), None)
