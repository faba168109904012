"""States that are given as options of commands."""

from __future__ import annotations

from collections.abc import Mapping

from understudy.cli.errors import UsageError
from understudy.states import stored_name


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
    if state is None:
        return None
    name = stored_name(state, words)
    if name is None:
        raise UsageError(f"--state {state!r} does not exist: choose one of {choices(words)}")
    return name
