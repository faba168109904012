"""Annotations, evaluated at run time.

Hints do not validate. Python does not check that an `int` parameter gets an int, and neither does
the codec: a builder exists only for a hint that contains an enum, a dataclass, a Struct, a pydantic
model, a named tuple or a typed dict, and it touches only those places.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import importlib.util
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Unresolved:
    """An annotation that cannot be evaluated.

    Parameters
    ----------
    annotation
        Its text.
    reason
        Why not.
    """

    annotation: str
    reason: str


def resolve(owner: Any) -> dict[str, Any]:
    """Evaluate the annotations of a function or a class, one by one.

    Names that only a type checker imports (``if TYPE_CHECKING:``) are imported for it now. An
    annotation that cannot be evaluated even so is `Unresolved`, and does not spoil the others.
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
            except Exception as error:
                hints[name] = Unresolved(str(annotation), str(error))
    return hints


def _evaluate(annotation: Any, names: Mapping[str, Any]) -> Any:
    """Evaluate an annotation as `typing` would, with the strings inside it (``list["Node"]``)."""

    def carrier() -> None: ...

    carrier.__annotations__ = {"hint": annotation}
    return typing.get_type_hints(carrier, {}, names, include_extras=True)["hint"]


class _Names(dict[str, Any]):
    """The names that an annotation may use; those for type checkers are imported when used.

    Parameters
    ----------
    module
        The module of the annotation.
    """

    def __init__(self, module: Any) -> None:
        super().__init__(vars(module) if module is not None else {})
        self._module = module

    def __missing__(self, name: str) -> Any:
        if self._module is None or name not in _names_for_checkers(self._module):
            raise KeyError(name)
        where, attribute = _names_for_checkers(self._module)[name]
        found = importlib.import_module(where)
        if attribute is None:
            return found
        return getattr(found, attribute)


@functools.lru_cache(maxsize=256)
def _names_for_checkers(module: Any) -> dict[str, tuple[str, str | None]]:
    """Return the names that a module imports under ``if TYPE_CHECKING:``.

    Returns
    -------
    The module that has each, and its name there; None if it is the module itself.
    """
    found: dict[str, tuple[str, str | None]] = {}
    try:
        for statement in ast.parse(inspect.getsource(module)).body:
            if isinstance(statement, ast.If) and _is_for_checkers(statement.test):
                for part in statement.body:
                    found.update(_imported(part, module.__package__ or None))
    except Exception:
        return {}
    return found


def _is_for_checkers(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _imported(statement: ast.stmt, package: str | None) -> dict[str, tuple[str, str | None]]:
    """Return what an import binds, as `_names_for_checkers` does."""
    if isinstance(statement, ast.ImportFrom):
        relative = "." * statement.level + (statement.module or "")
        where = importlib.util.resolve_name(relative, package)
        return {name.asname or name.name: (where, name.name) for name in statement.names}
    if isinstance(statement, ast.Import):
        roots = [(name, name.name.partition(".")[0]) for name in statement.names]
        return {
            name.asname or root: (name.name if name.asname else root, None) for name, root in roots
        }
    return {}


def _names_visible_to(owner: Any) -> dict[str, Any]:
    """Return the names that an annotation of `owner` may use.

    They are those of its module, of its closure, its own, and those of its type parameters, which
    `typing` itself sees in texts only from Python 3.12.4 on.
    """
    names: dict[str, Any] = _Names(sys.modules.get(getattr(owner, "__module__", None) or ""))
    names.update(getattr(owner, "__globals__", {}))
    names.update({each.__name__: each for each in getattr(owner, "__type_params__", ())})
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
