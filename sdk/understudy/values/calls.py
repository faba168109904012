"""What a function's parameters say about the arguments that arrive."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from understudy.values.hints import function_hints
from understudy.values.structure import Plan, plan_of


class CallTypes:
    """Names and plans of a function's parameters, without its first, the context.

    Parameters
    ----------
    parameters
        Those of the signature, without the first.
    hints
        Evaluated annotations by name; one that is missing means no hint.
    """

    __slots__ = ("names", "has_plans", "_positional", "_rest", "_named", "_others")

    def __init__(self, parameters: list[inspect.Parameter], hints: Mapping[str, Any]) -> None:
        names: list[str] = []
        self._rest: Plan | None = None
        self._others: Plan | None = None
        self._named: dict[str, Plan | None] = {}
        for parameter in parameters:
            plan = plan_of(hints.get(parameter.name))
            if parameter.kind is parameter.VAR_POSITIONAL:
                self._rest = plan
            elif parameter.kind is parameter.VAR_KEYWORD:
                self._others = plan
            else:
                self._named[parameter.name] = plan
                if parameter.kind is not parameter.KEYWORD_ONLY:
                    names.append(parameter.name)
        #: of the parameters that can be given by position, in order
        self.names: tuple[str, ...] = tuple(names)
        self._positional = tuple(self._named[name] for name in names)
        #: whether any argument may have to be rebuilt
        self.has_plans = any((self._rest, self._others, *self._named.values()))

    @classmethod
    def of(cls, fn: Callable[..., Any]) -> CallTypes:
        """Read them from `fn`, whose first parameter is the context."""
        parameters = list(inspect.signature(fn).parameters.values())
        if parameters and parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
            del parameters[0]
        return cls(parameters, function_hints(fn))

    def plan_at(self, index: int) -> Plan | None:
        """The plan of the positional argument at `index`."""
        return self._positional[index] if index < len(self._positional) else self._rest

    def plan_named(self, name: str) -> Plan | None:
        """The plan of the argument given as `name`."""
        return self._named.get(name, self._others)
