"""The answer to each thing that a function may yield."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from understudy_actors.errors import RequestError
from understudy_actors.interpreter.child_calls import ChildCalls
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
        raise RequestError(
            f"{calls.function.name} yielded {asked!r}, which is not a request: yield a call of "
            "ctx (ctx.rfc, ctx.sleep, ...) or a promise, or use return"
        )
    return handler(calls, asked)


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


def _on_all(calls: ChildCalls, request: All[Any]) -> Any:
    promises = [_as_promise(calls, item) for item in request.items]
    consume = calls.replay.consume
    return _wait_for(calls, promises, None, lambda: [consume(promise) for promise in promises])


def _on_gather(calls: ChildCalls, request: Gather) -> Any:
    return _wait_for(calls, request.promises, request.count, lambda: None)


def _on_race(calls: ChildCalls, race: Race[Any]) -> Any:
    promises = [_as_promise(calls, item) for item in race.items]
    if not promises:
        raise ValueError("ctx.race needs at least one promise")
    record = calls.replay.match(race.spec)
    if record is not None and record.settled:
        return _race_won(calls, race, promises)
    return _wait_for(calls, promises, 1, lambda: _decide_race(calls, race, promises))


def _decide_race(calls: ChildCalls, race: Race[Any], promises: list[Promise[Any]]) -> Wait:
    """Store which promise won, before anyone can act on it."""
    known = calls.replay.known
    settled = [
        (record.settled_at or 0, place)
        for place, promise in enumerate(promises)
        if (record := known.get(promise.id)) is not None and record.settled
    ]
    winner = min(settled)[1]
    calls.settle_race(race.spec, winner)
    return Wait((race.spec.id,), 1, lambda: _race_won(calls, race, promises))


def _race_won(calls: ChildCalls, race: Race[Any], promises: list[Promise[Any]]) -> Any:
    replay = calls.replay
    winner = int(replay.values.decode_value(replay.known[race.spec.id].value.data))
    if race.cancel:
        losers = [
            promise.id
            for place, promise in enumerate(promises)
            if place != winner and not _is_settled(calls, promise.id)
        ]
        calls.result.cancels = (*calls.result.cancels, *losers)
    return _on_promise(calls, promises[winner])


def _wait_for(
    calls: ChildCalls,
    promises: Sequence[Promise[Any]],
    count: int | None,
    finish: Callable[[], Any],
) -> Any:
    """Wait until `count` of the promises have settled; None: until all have."""
    ids = {promise.id: None for promise in promises}
    missing = [id for id in ids if not _is_settled(calls, id)]
    need = len(missing) if count is None else count - (len(ids) - len(missing))
    return finish() if need <= 0 else Wait(missing, need, finish)


def _is_settled(calls: ChildCalls, id: str) -> bool:
    record = calls.replay.known.get(id)
    return record is not None and record.settled


def _as_promise(calls: ChildCalls, item: Any) -> Promise[Any]:
    if isinstance(item, Promise):
        return item
    if isinstance(item, Call):
        return calls.make(item.spec, item.hint)
    if isinstance(item, Sleep):
        return calls.make(item.spec)
    raise RequestError(f"{item!r} is no promise: pass one made by ctx.rfi, ctx.lfi or ctx.sleep")


_HANDLERS: Final[dict[type, Callable[[ChildCalls, Any], Any]]] = {
    Call: _on_call,
    Sleep: _on_sleep,
    Promise: _on_promise,
    All: _on_all,
    Gather: _on_gather,
    Race: _on_race,
}
