"""Annotations, evaluated at run time.

Hints do not validate. Python does not check that an `int` parameter gets an int, and neither does
the codec: a builder exists only for a hint that contains an enum, a dataclass, a Struct, a pydantic
model, a named tuple or a typed dict, and it touches only those places.
"""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Callable
from typing import Any


def resolve(owner: Any) -> dict[str, Any]:
    """Evaluate the annotations of a function or a class, one by one.

    An annotation that cannot be evaluated (a name that only a type checker imports) is left out
    and does not spoil the others.
    """
    try:
        return typing.get_type_hints(owner)
    except Exception:
        return _resolve_singly(owner)


def _resolve_singly(thing: Any) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for owner in reversed(thing.__mro__) if isinstance(thing, type) else [thing]:
        try:
            annotations = inspect.get_annotations(owner)
        except Exception:
            continue
        names = _names_visible_to(owner)
        for name, annotation in annotations.items():
            try:
                hints[name] = _evaluate(annotation, names)
            except Exception:
                hints.pop(name, None)
    return hints


def _evaluate(annotation: Any, names: dict[str, Any]) -> Any:
    """Evaluate an annotation as `typing` would, with the strings inside it (``list["Node"]``)."""

    def carrier() -> None: ...

    carrier.__annotations__ = {"hint": annotation}
    return typing.get_type_hints(carrier, names)["hint"]


def _names_visible_to(owner: Any) -> dict[str, Any]:
    """Return the names that an annotation of `owner` may use.

    They are those of its module, of its closure, and its own.
    """
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
    """Evaluate the annotations of a function, also inside `functools.partial` or `wraps`."""
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
