"""States as people name them in searches: with the words that they are shown, or the store's."""

from __future__ import annotations

from collections.abc import Mapping


def stored_name(state: str, words: Mapping[str, str]) -> str | None:
    """Return the store's name of a state under either of its names; None if it is no state.

    Parameters
    ----------
    words
        `PROMISE_WORDS` or `TASK_WORDS`: the store's name to the one that is shown.
    """
    if state in words:
        return state
    return next((name for name, word in words.items() if word == state), None)
