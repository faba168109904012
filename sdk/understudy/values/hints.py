"""Annotations read at run time: which of them names a class that has to be rebuilt.

Hints do not validate. Python does not check that an `int` parameter gets an int, and neither does
the codec: a plan exists only for a hint in which an enum, a dataclass, a Struct, a pydantic model,
a named tuple or a typed dict occurs, and it touches only those places.
"""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Callable
from typing import Any


def resolve(thing: Any) -> dict[str, Any]:
    """The annotations of a function or a class, evaluated one by one.

    One that cannot be evaluated (a name that only a type checker imports) is left out, and does
    not spoil the others.
    """
    try:
        return typing.get_type_hints(thing)
    except Exception:
        return _resolve_singly(thing)


def _resolve_singly(thing: Any) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for owner in reversed(thing.__mro__) if isinstance(thing, type) else [thing]:
        try:
            annotations = inspect.get_annotations(owner)
        except Exception:
            continue
        names = _names_around(owner)
        for name, annotation in annotations.items():
            try:
                hints[name] = _evaluated(annotation, names)
            except Exception:
                hints.pop(name, None)
    return hints


def _evaluated(annotation: Any, names: dict[str, Any]) -> Any:
    """Evaluate what `typing` would, with the strings inside (``list["Node"]``) as well."""

    def carrier() -> None: ...

    carrier.__annotations__ = {"hint": annotation}
    return typing.get_type_hints(carrier, names)["hint"]


def _names_around(owner: Any) -> dict[str, Any]:
    """What a name in an annotation of `owner` may mean: itself, its closure, its module."""
    module = sys.modules.get(getattr(owner, "__module__", None) or "")
    names = dict(vars(module)) if module is not None else {}
    names.update(getattr(owner, "__globals__", {}))
    if isinstance(owner, type):
        names.setdefault(owner.__name__, owner)
        return names
    for name, cell in zip(owner.__code__.co_freevars, owner.__closure__ or (), strict=True):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # not yet assigned
            continue
    return names


def function_hints(fn: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of a function, also of one inside `functools.partial` or `functools.wraps`."""
    inner: Any = fn
    while True:
        unwrapped = inspect.unwrap(inner)
        if isinstance(unwrapped, functools.partial):
            unwrapped = unwrapped.func
        if unwrapped is inner:
            break
        inner = unwrapped
    if inspect.ismethod(inner):
        inner = inner.__func__
    if not inspect.isfunction(inner):
        inner = type(inner).__call__
    try:
        return resolve(inner)
    except Exception:
        return {}
