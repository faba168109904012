"""A report for error messages: the functions and dependencies that cannot be pickled, and why."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from understudy.values.pickles import dumps


def describe_unpicklable(
    functions: Mapping[str, Callable[..., Any]], dependencies: Mapping[str, Any]
) -> str:
    """Name each function and dependency that cannot be pickled, with the reason.

    Returns
    -------
    str
        Empty if each of them alone can be pickled.
    """
    found = []
    for name, function in functions.items():
        if reason := _reason(function):
            used = [f"{what} {why}" for what, why in _unpicklable_parts(function)]
            found.append(f"function {name!r}: " + ("; ".join(used) or reason))
    for name, value in dependencies.items():
        if reason := _reason(value):
            found.append(f"dependency {name!r}: {reason}")
    return "; ".join(found)


def _reason(value: Any) -> str:
    """Return why a value cannot be pickled; empty if it can."""
    try:
        dumps(value)
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


def _unpicklable_parts(function: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """Find the variables used by a function that cannot be pickled, each with the reason."""
    try:
        used = inspect.getclosurevars(inspect.unwrap(function))
    except (TypeError, ValueError):
        return
    for kind, values in (("global", used.globals), ("variable", used.nonlocals)):
        for name, value in values.items():
            if reason := _reason(value):
                yield f"it uses the {kind} {name!r}", f"({reason})"
