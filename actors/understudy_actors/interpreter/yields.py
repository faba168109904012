"""The answer to each thing that a function may yield."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import CoroutineType, GeneratorType
from typing import Any, Final

from understudy_actors.errors import RequestError
from understudy_actors.interpreter.child_calls import ChildCalls
from understudy_actors.interpreter.joins import JoinWait
from understudy_actors.interpreter.requests import All, Call, Gather, Promise, Race, Sleep
from understudy_actors.interpreter.wait import Wait


def answer(calls: ChildCalls, asked: Any) -> Any:
    """Return the value of a yielded request, or a `Wait` if it is not known yet.

    Raises
    ------
    RequestError
        `asked` is no request.
    BaseException
        The error that the awaited call has failed with.
    """
    handler = _HANDLERS.get(asked.__class__)
    if handler is None:
        if isinstance(asked, GeneratorType | CoroutineType):
            raise RequestError(_called_directly(asked))
        raise RequestError(
            f"{calls.function.name} yielded {asked!r}, which is not a request: yield a call of "
            "ctx (ctx.rpc, ctx.sleep, ...) or a promise, or use return"
        )
    return handler(calls, asked)


def _called_directly(called: GeneratorType[Any, Any, Any] | CoroutineType[Any, Any, Any]) -> str:
    name = called.__name__
    called.close()
    return (
        f"{name} was called directly, and what that gave was yielded, which runs nothing: write "
        f"`yield ctx.rpc({name}, ...)` for a durable call, or `yield from {name}(ctx, ...)` to run "
        "a generator as a part of this function"
    )


def _on_call(calls: ChildCalls, call: Call[Any]) -> Any:
    promise = calls.make(call.spec, call.hint)
    return _on_promise(calls, promise) if call.wait else promise


def _on_sleep(calls: ChildCalls, sleep: Sleep) -> Any:
    return _on_promise(calls, calls.make(sleep.spec))


def _on_promise(calls: ChildCalls, promise: Promise[Any]) -> Any:
    replay = calls.replay
    record = replay.known.get(promise.id)
    if record is not None and record.settled:
        return replay.consume(promise)
    return Wait((promise.id,), 1, partial(replay.consume, promise))


def _on_join(calls: ChildCalls, request: All[Any] | Race[Any]) -> Any:
    wait = JoinWait(calls, request)
    return wait.advance() if wait.ready else wait


def _on_gather(calls: ChildCalls, request: Gather) -> Any:
    ids = {promise.id: None for promise in request.promises}
    missing = [id for id in ids if not calls.replay.is_settled(id)]
    need = request.count - (len(ids) - len(missing))
    return None if need <= 0 else Wait(missing, need, lambda: None)


_HANDLERS: Final[dict[type, Callable[[ChildCalls, Any], Any]]] = {
    Call: _on_call,
    Sleep: _on_sleep,
    Promise: _on_promise,
    All: _on_join,
    Gather: _on_gather,
    Race: _on_join,
}
