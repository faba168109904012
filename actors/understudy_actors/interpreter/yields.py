"""What comes back for each thing that a function may yield.

`answer` gives the value, or `NOTHING` when the routine has to wait: its ``wait`` is set then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from understudy_actors.errors import RequestError
from understudy_actors.interpreter.child_commands import race_commands
from understudy_actors.interpreter.requests import (
    All,
    Call,
    Gather,
    Promise,
    Race,
    Sleep,
    Subroutine,
)
from understudy_actors.interpreter.wait import NOTHING, Wait

if TYPE_CHECKING:
    from understudy_actors.interpreter.routine import Routine


def answers(asked: Any) -> bool:
    """Whether `asked` is a request."""
    return asked.__class__ in _HANDLERS


def answer(routine: Routine, asked: Any) -> Any:
    """The value for a yielded request, or `NOTHING` with ``routine.wait`` set."""
    handler = _HANDLERS.get(asked.__class__)
    if handler is None:
        raise RequestError(
            f"{routine.function.name} yielded {asked!r}, which is no request: yield what ctx "
            "makes (ctx.rfc, ctx.sleep, ...), a promise, or use return"
        )
    return handler(routine, asked)


def _on_call(routine: Routine, call: Call[Any]) -> Any:
    promise = routine.issue(call.spec, call.hint)
    return _on_promise(routine, promise) if call.wait else promise


def _on_sleep(routine: Routine, sleep: Sleep) -> Any:
    return _on_promise(routine, routine.issue(sleep.spec))


def _on_promise(routine: Routine, promise: Promise[Any]) -> Any:
    record = routine.known.get(promise.id)
    if record is not None and record.settled:
        return routine.consume(promise)
    routine.wait = Wait((promise.id,), 1, lambda: routine.consume(promise))
    return NOTHING


def _on_all(routine: Routine, request: All[Any]) -> Any:
    promises = [_as_promise(routine, item) for item in request.items]
    return _wait_for(routine, promises, None, lambda: [routine.consume(p) for p in promises])


def _on_gather(routine: Routine, request: Gather) -> Any:
    return _wait_for(routine, request.promises, request.count, lambda: None)


def _on_race(routine: Routine, race: Race[Any]) -> Any:
    promises = [_as_promise(routine, item) for item in race.items]
    if not promises:
        raise ValueError("ctx.race needs at least one promise")
    record = routine.match(race.spec)
    if record is not None and record.settled:
        return _race_won(routine, race, promises)
    return _wait_for(routine, promises, 1, lambda: _decide_race(routine, race, promises))


def _decide_race(routine: Routine, race: Race[Any], promises: list[Promise[Any]]) -> Any:
    """Store which one won before anyone can act on it."""
    settled = [
        (r.settled_at or 0, n)
        for n, p in enumerate(promises)
        if (r := routine.known.get(p.id)) is not None and r.settled
    ]
    winner = min(settled)[1]
    routine.out.commands += race_commands(routine, race.spec, winner)
    routine.local(race.spec.id)
    routine.wait = Wait((race.spec.id,), 1, lambda: _race_won(routine, race, promises))
    return NOTHING


def _race_won(routine: Routine, race: Race[Any], promises: list[Promise[Any]]) -> Any:
    winner = int(routine.env.values.decode_value(routine.known[race.spec.id].value.data))
    if race.cancel:
        losers = [
            p.id
            for n, p in enumerate(promises)
            if n != winner and not ((r := routine.known.get(p.id)) is not None and r.settled)
        ]
        routine.out.cancels = (*routine.out.cancels, *losers)
    return _on_promise(routine, promises[winner])


def _on_subroutine(routine: Routine, request: Subroutine[Any]) -> Any:
    generator = request.start()
    try:
        first = next(generator)
    except StopIteration as stop:
        return stop.value
    routine.stack.append(generator)
    return answer(routine, first)


def _wait_for(
    routine: Routine, promises: Sequence[Promise[Any]], count: int | None, finish: Callable[[], Any]
) -> Any:
    known = routine.known
    ids = {p.id: None for p in promises}
    missing = [i for i in ids if (r := known.get(i)) is None or not r.settled]
    need = len(missing) if count is None else count - (len(ids) - len(missing))
    if need <= 0:
        return finish()
    routine.wait = Wait(missing, need, finish)
    return NOTHING


def _as_promise(routine: Routine, item: Any) -> Promise[Any]:
    if isinstance(item, Promise):
        return item
    if isinstance(item, Call):
        return routine.issue(item.spec, item.hint)
    if isinstance(item, Sleep):
        return routine.issue(item.spec)
    raise RequestError(f"{item!r} is no promise: pass what ctx.rfi, ctx.lfi or ctx.sleep make")


_HANDLERS: Final[dict[type, Callable[[Routine, Any], Any]]] = {
    Call: _on_call,
    Sleep: _on_sleep,
    Promise: _on_promise,
    All: _on_all,
    Gather: _on_gather,
    Race: _on_race,
    Subroutine: _on_subroutine,
}
