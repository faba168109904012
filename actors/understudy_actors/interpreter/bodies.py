"""The two things that calling a function may give: its result, or a body that is to be run.

A generator function gives a generator, an ``async def`` a coroutine. A plain function gives its
result, unless it returns a generator or a coroutine, as the wrapper of a decorator does that
returns what the wrapped function gives: then this is the function's body.
"""

from __future__ import annotations

from collections.abc import Awaitable
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final

from understudy_actors.errors import RequestError
from understudy_actors.interpreter.ports import FunctionLike, Kind

#: the kind of a body by its class; None: nothing runs it
BODIES: Final[dict[type, Kind | None]] = {
    GeneratorType: "generator",
    CoroutineType: "coroutine",
    AsyncGeneratorType: None,
}


def body_of(function: FunctionLike, given: Any) -> tuple[Kind, Any]:
    """Return the body that a function gave, and its kind.

    Parameters
    ----------
    given
        What calling the function gave. It is of a class among `BODIES`, or the function is no plain
        one.

    Raises
    ------
    RequestError
        It is an async generator.
    """
    kind = BODIES.get(given.__class__, function.kind)
    if kind is None:
        raise RequestError(
            f"{function.name} returned an async generator, which nothing runs: return its items as "
            "a list, or the coroutine of an async def"
        )
    if kind == "coroutine" and given.__class__ is not CoroutineType:
        # The function is only marked as one that gives coroutines.
        given = _awaited(given) if isinstance(given, Awaitable) else _value(given)
    return kind, given


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _value(value: Any) -> Any:
    return value
