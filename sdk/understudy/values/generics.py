"""Generic classes: the types that their parameters stand for, in each of their bases."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any

#: what type parameters stand for
Bindings = Mapping[Any, Any]


def substitute(hint: Any, bindings: Bindings) -> Any:
    """Return `hint` with type parameters replaced by what they stand for."""
    if not bindings:
        return hint
    try:
        if hint in bindings:
            return bindings[hint]
    except TypeError:  # not hashable
        return hint
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if not arguments or origin is typing.Literal:
        return hint
    if origin is typing.Annotated:
        return typing.Annotated[(substitute(arguments[0], bindings), *hint.__metadata__)]
    replaced = tuple(substitute(argument, bindings) for argument in arguments)
    if replaced == arguments:
        return hint
    if origin is typing.Union or origin is types.UnionType:
        return typing.Union[replaced]  # noqa: UP007 - it is made of values
    if hasattr(hint, "copy_with"):
        return hint.copy_with(replaced)
    return types.GenericAlias(origin, replaced)


def parameters_of(kind: Any) -> tuple[Any, ...]:
    """Return the type parameters of a class."""
    found: tuple[Any, ...] = getattr(kind, "__parameters__", ())
    return found


def bindings_of(kind: Any, arguments: tuple[Any, ...] = ()) -> dict[Any, Bindings]:
    """Return what the type parameters of a class and of each of its bases stand for.

    Parameters
    ----------
    arguments
        What the parameters of `kind` itself stand for; if there are fewer, the others stay.
    """
    found: dict[Any, Bindings] = {}
    _bind(kind, arguments, found)
    return found


def arguments_for(kind: Any, base: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of a subclass with which its base has `arguments`, as far as they tell.

    With ``class Named(Page[T], Generic[T])``, a ``Page[int]`` may be a ``Named[int]``.
    """
    own = parameters_of(kind)
    in_base = bindings_of(kind, own).get(base, {})
    known = {}
    for parameter, argument in zip(parameters_of(base), arguments, strict=False):
        expression = in_base.get(parameter)
        if expression in own:
            known[expression] = argument
    return tuple(known.get(parameter, parameter) for parameter in own)


def declaring_class(kind: Any, name: str) -> Any:
    """Return the class among `kind` and its bases that annotates a field."""
    if typing.is_typeddict(kind):
        # A typed dict has the annotations of its bases, but is no subclass of them.
        for base in vars(kind).get("__orig_bases__", ()):
            origin = typing.get_origin(base) or base
            if typing.is_typeddict(origin) and name in origin.__annotations__:
                return declaring_class(origin, name)
        return kind
    for owner in kind.__mro__:
        if name in getattr(owner, "__annotations__", {}) and (
            name in vars(owner).get("__annotations__", {name: None})
        ):
            return owner
    return kind


def _bind(kind: Any, arguments: tuple[Any, ...], found: dict[Any, Bindings]) -> None:
    if kind in found:
        return
    bindings = dict(zip(parameters_of(kind), arguments, strict=False))
    found[kind] = bindings
    for base in vars(kind).get("__orig_bases__", getattr(kind, "__bases__", ())):
        origin = typing.get_origin(base) or base
        if isinstance(origin, type) and origin not in (typing.Generic, typing.Protocol, object):
            given = tuple(substitute(item, bindings) for item in typing.get_args(base))
            _bind(origin, given, found)
