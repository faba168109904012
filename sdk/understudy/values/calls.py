"""The types of a call's arguments, as the called function's parameters declare them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from understudy.values.builders import Builder
from understudy.values.hints import function_hints
from understudy.values.structure import builder_of


class CallTypes:
    """Names and builders of a function's parameters, without the first one, the context.

    Parameters
    ----------
    parameters
        The parameters of the function's signature, without the first.
    hints
        Evaluated annotations by name; a missing one means no hint.
    """

    __slots__ = ("names", "has_builders", "_positional", "_var_positional", "_named", "_var_named")

    def __init__(self, parameters: list[inspect.Parameter], hints: Mapping[str, Any]) -> None:
        names: list[str] = []
        self._var_positional: Builder | None = None
        self._var_named: Builder | None = None
        self._named: dict[str, Builder | None] = {}
        for parameter in parameters:
            builder = builder_of(hints.get(parameter.name))
            if parameter.kind is parameter.VAR_POSITIONAL:
                self._var_positional = builder
            elif parameter.kind is parameter.VAR_KEYWORD:
                self._var_named = builder
            else:
                self._named[parameter.name] = builder
                if parameter.kind is not parameter.KEYWORD_ONLY:
                    names.append(parameter.name)
        #: names of the parameters that can be given by position, in order
        self.names: tuple[str, ...] = tuple(names)
        self._positional = tuple(self._named[name] for name in names)
        #: whether any argument may have to be rebuilt
        self.has_builders = any((self._var_positional, self._var_named, *self._named.values()))

    @classmethod
    def of(cls, fn: Callable[..., Any]) -> CallTypes:
        """Read the types from `fn`, whose first parameter is the context."""
        parameters = list(inspect.signature(fn).parameters.values())
        if parameters and parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
            del parameters[0]
        return cls(parameters, function_hints(fn))

    def builder_at(self, index: int) -> Builder | None:
        """Return the builder of the positional argument at `index`."""
        return self._positional[index] if index < len(self._positional) else self._var_positional

    def builder_named(self, name: str) -> Builder | None:
        """Return the builder of the argument given as `name`."""
        return self._named.get(name, self._var_named)
