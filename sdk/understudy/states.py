"""States as people name them in searches: with the words that they are shown, or the store's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from understudy_store.records import PROMISE_WORDS, REJECTED, TIMEDOUT


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


#: The states of calls in searches: those of promises, and ``failed`` for those without a value that
#: nobody has asked for.
CALL_STATES: Final = (*PROMISE_WORDS.values(), "failed")


def call_states(words: Iterable[str], *, error: str | None = None) -> tuple[str, ...] | None:
    """Return the store's names of the states that calls may have; None if a word is no state.

    Parameters
    ----------
    words
        Of `CALL_STATES`, or the store's names; none: any state.
    error
        The class of an exception that calls are to have failed with: without words, only calls that
        raised are meant.

    Examples
    --------
    >>> call_states(["failed"]), call_states([]), call_states(["lost"])
    (('rejected', 'rejected_timedout'), (), None)
    """
    found: dict[str, None] = {}
    for word in words:
        if word == "failed":
            found |= dict.fromkeys((REJECTED, TIMEDOUT))
            continue
        name = stored_name(word, PROMISE_WORDS)
        if name is None:
            return None
        found[name] = None
    if not found and error is not None:
        return (REJECTED,)
    return tuple(found)
