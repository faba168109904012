"""Which part of what is registered cannot go to another process. For messages; it sends nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from understudy.values.pickles import dumps


def culprits(functions: Mapping[str, Callable[..., Any]], dependencies: Mapping[str, Any]) -> str:
    """The functions and dependencies that cannot be pickled, each with why; empty if none alone."""
    found = []
    for name, function in functions.items():
        if problem := _problem(function):
            used = [f"{each} {problem}" for each, problem in _unfit(function)]
            found.append(f"function {name!r}: " + ("; ".join(used) or problem))
    for name, value in dependencies.items():
        if problem := _problem(value):
            found.append(f"dependency {name!r}: {problem}")
    return "; ".join(found)


def _problem(value: Any) -> str:
    """Why it cannot be pickled; empty if it can."""
    try:
        dumps(value)
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


def _unfit(function: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """What it uses that cannot be pickled: by name, with why."""
    try:
        used = inspect.getclosurevars(inspect.unwrap(function))
    except (TypeError, ValueError):
        return
    for kind, values in (("global", used.globals), ("variable", used.nonlocals)):
        for name, value in values.items():
            if problem := _problem(value):
                yield f"it uses the {kind} {name!r}", f"({problem})"
