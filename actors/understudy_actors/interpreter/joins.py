"""Waits for several promises: ``ctx.all`` and ``ctx.race``, which may stand inside each other.

A join is a tree. Its leaves are promises; an `All` needs all of its parts, a `Race` one. Promises
that settle are counted from the leaves upwards, so a wait for ten thousand costs a lookup and a
subtraction for each of them.

A race has two stages. Once it has what it needs, the winner is stored (a promise that is created
and settled); only when that is on disk does the race count for the join around it, and are its
losers canceled. The winner is the part that settled first by the store's times, even if the race is
decided late.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from understudy_actors.errors import RequestError
from understudy_actors.interpreter.child_calls import ChildCalls
from understudy_actors.interpreter.failure_notes import note_place
from understudy_actors.interpreter.requests import (
    All,
    Call,
    CallSpec,
    Gather,
    Promise,
    Race,
    Sleep,
    Subroutine,
)
from understudy_actors.interpreter.wait import Wait

_NONE: Final[tuple[Join, ...]] = ()


class Join:
    """An ``all`` or a ``race`` that is waited for, with its parts.

    Attributes
    ----------
    above
        The join that this one is a part of; None for the outermost.
    missing
        How many more parts must settle.
    winner
        Place of the part that won, once a race is decided.
    over
        True if it has settled: of a race, if its winner is stored.
    eager
        True if it is a race that cancels its losers, or has one inside.
    """

    __slots__ = ("above", "alone", "eager", "missing", "over", "parts", "request", "winner")

    def __init__(self, request: All[Any] | Race[Any], above: Join | None) -> None:
        self.request = request
        self.above = above
        self.parts: list[Promise[Any] | Join] = []
        self.missing = 0
        self.winner: int | None = None
        self.over = False
        self.eager = isinstance(request, Race) and request.cancel
        #: what a promise that only this join waits for is filed with; shared, because it is usual
        self.alone = (self,)

    @property
    def counts(self) -> bool:
        """True unless it, or a join around it, has settled already."""
        join: Join | None = self
        while join is not None and not join.over:
            join = join.above
        return join is None

    def promises(self) -> Iterator[Promise[Any]]:
        """Yield all promises in it, also those of the joins inside."""
        for part in self.parts:
            if isinstance(part, Promise):
                yield part
            else:
                yield from part.promises()


class JoinWait(Wait):
    """The wait for a join: counts promises that settle, and decides races on the way.

    Parameters
    ----------
    calls
        The calls of the run, to which those in the join belong.
    request
        What was yielded. Calls in it that were not made yet are made here.
    """

    __slots__ = ("_calls", "_root", "_storing", "_turned", "_waiting")

    def __init__(self, calls: ChildCalls, request: All[Any] | Race[Any]) -> None:
        super().__init__((), 0, self.advance)
        self._calls = calls
        #: joins by the id of each promise that they wait for
        self._waiting: dict[str, tuple[Join, ...] | list[Join]] = {}
        #: decided races by the id of the promise that stores their winner
        self._storing: dict[str, list[Join]] = {}
        #: races with which something is to be done
        self._turned: list[Join] = []
        self._root = self._build(request, None)
        self._arm(self._root)

    # Building ------------------------------------------------------------------------------------

    def _build(self, request: All[Any] | Race[Any], above: Join | None) -> Join:
        join = Join(request, above)
        join.parts = [self._part(item, join) for item in request.items]
        if any(isinstance(part, Join) and part.eager for part in join.parts):
            join.eager = True
        if isinstance(request, Race):
            if not join.parts:
                raise ValueError("ctx.race needs at least one promise")
            self._calls.replay.match(request.spec)
            join.winner = self._stored_winner(request.spec.id)
        return join

    def _part(self, item: Any, join: Join) -> Promise[Any] | Join:
        if isinstance(item, Promise):
            return item
        if isinstance(item, Call):
            return self._calls.make(item.spec, item.hint)
        if isinstance(item, Sleep):
            return self._calls.make(item.spec)
        if isinstance(item, All | Race):
            return self._build(item, join)
        if isinstance(item, Subroutine):
            return self._build(self._made_by(item), join)
        raise RequestError(
            f"{item!r} is no promise: pass what ctx.begin_rpc, ctx.begin_run, ctx.sleep, ctx.all "
            "or ctx.race gave"
        )

    def _made_by(self, subroutine: Subroutine[Any]) -> All[Any]:
        """Make the calls of a ``ctx.map``, and return the wait for them."""
        steps = subroutine.start()
        asked = next(steps)
        while isinstance(asked, Call):
            asked = steps.send(self._calls.make(asked.spec, asked.hint))
        if isinstance(asked, Gather):
            raise RequestError(
                "a ctx.map with a window cannot stand inside ctx.all or ctx.race, because which "
                "call it makes next would depend on time: leave the window out, or put the map "
                "into a function of its own and pass ctx.begin_run of that"
            )
        assert isinstance(asked, All)
        return asked

    def _arm(self, join: Join) -> None:
        """Begin to wait for the parts of a join that have not settled."""
        if join.winner is not None:
            self._arm_decided(join, join.parts[join.winner])
            return
        missing = 0
        for part in join.parts:
            if isinstance(part, Promise):
                if self._calls.replay.is_settled(part.id):
                    continue
                self._file(part.id, join)
            else:
                self._arm(part)
                if part.over:
                    continue
            missing += 1
        if isinstance(join.request, All):
            join.missing = missing
            join.over = not missing
        elif missing < len(join.parts):
            self._turned.append(join)
        else:
            join.missing = 1

    def _arm_decided(self, race: Join, won: Promise[Any] | Join) -> None:
        """Wait for the winner of a race that the history has decided, if its value is not there.

        The history has only what was made in the slot of the task. The rest is heard of when the
        calls are made again.
        """
        if isinstance(won, Join):
            self._arm(won)
        elif not self._has_settled(won):
            self._file(won.id, race)
        if self._has_settled(won):
            self._end(race)
        else:
            race.missing = 1

    def _file(self, id: str, join: Join) -> None:
        waiting = self._waiting
        joins = waiting.get(id)
        if joins is None:
            waiting[id] = join.alone
        elif isinstance(joins, list):
            joins.append(join)
        else:
            waiting[id] = [*joins, join]

    # Counting ------------------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Return the ids of all promises that count for the wait."""
        return [*self._waiting, *self._storing]

    def hit(self, id: str) -> None:
        """Count a promise that has settled; once, however often it is told."""
        for join in self._waiting.pop(id, _NONE):
            self._count(join)
        if self._storing:
            self._turned += self._storing.pop(id, ())

    def _count(self, join: Join | None) -> None:
        """Note that one more part of `join` has settled."""
        while join is not None:
            join.missing -= 1
            if join.missing:
                return
            if isinstance(join.request, Race):
                self._turned.append(join)
                return
            join.over = True
            join = join.above

    @property
    def ready(self) -> bool:
        return self._root.over or bool(self._turned)

    def wake_on(self) -> list[str]:
        """Return ids of which at least one must settle before anything is to be done.

        Of an ``all`` any single one will do, and the last is the most likely to settle late. But a
        race in it that cancels its losers is not kept waiting.
        """
        ids: dict[str, None] = {}
        joins = [self._root]
        while joins:
            join = joins.pop()
            race = isinstance(join.request, Race)
            last = True
            for part in reversed(join.parts):
                wanted = race or last or (isinstance(part, Join) and part.eager)
                if wanted and not self._has_settled(part):
                    last = False
                    if isinstance(part, Promise):
                        ids[part.id] = None
                    else:
                        joins.append(part)
                if not (race or last or join.eager):
                    break
        return list(ids)

    def _has_settled(self, part: Promise[Any] | Join) -> bool:
        return part.over if isinstance(part, Join) else self._calls.replay.is_settled(part.id)

    # Going on ------------------------------------------------------------------------------------

    def advance(self) -> Any:
        """Do what is to be done; return the value of the join, or this wait if it is not over."""
        while self._turned:
            turned, self._turned = self._turned, []
            for race in turned:
                if race.over:
                    continue
                stored = self._stored_winner(_spec_of(race).id)
                if stored is not None:
                    race.winner = stored
                    self._end(race)
                    self._count(race.above)
                elif race.winner is None and race.counts:
                    self._decide(race)
        if not self._root.over:
            return self
        self._calls.replay.hear(self._root.promises())
        return self._value(self._root)

    def _decide(self, race: Join) -> None:
        """Store which part of a race won, before anyone can act on it."""
        settled = [
            (at, place)
            for place, part in enumerate(race.parts)
            if (at := self._settled_at(part)) is not None
        ]
        race.winner = min(settled)[1]
        inner = [race.parts[race.winner]]
        while inner:
            part = inner.pop()
            if isinstance(part, Promise):
                continue
            if isinstance(part.request, All):
                inner += part.parts
            elif part.winner is None:
                # It is decided in the same commit, because its value is asked for next.
                self._decide(part)
        spec = _spec_of(race)
        if spec.id not in self._storing:
            # The same race may stand in two places.
            self._storing[spec.id] = []
            self._calls.settle_race(spec, race.winner)
        self._storing[spec.id].append(race)

    def _stored_winner(self, id: str) -> int | None:
        """Return the place that is stored in the promise of a race; None if it is not decided."""
        replay = self._calls.replay
        return int(replay.read(replay.known[id])) if replay.is_settled(id) else None

    def _settled_at(self, part: Promise[Any] | Join) -> int | None:
        """Return when a part settled, by the times in the store; None if it has not."""
        if isinstance(part, Promise):
            record = self._calls.replay.known.get(part.id)
            return record.settled_at or 0 if record is not None and record.settled else None
        if part.winner is not None:
            return self._settled_at(part.parts[part.winner])
        times = [self._settled_at(inner) for inner in part.parts]
        settled = [at for at in times if at is not None]
        if isinstance(part.request, Race):
            return min(settled, default=None)
        return max(settled, default=0) if len(settled) == len(times) else None

    def _end(self, race: Join) -> None:
        """Note that the winner of a race is stored, and cancel the others if that is asked for."""
        race.over = True
        assert isinstance(race.request, Race)
        if not race.request.cancel:
            return
        replay = self._calls.replay
        losers = {
            promise.id: None
            for place, part in enumerate(race.parts)
            if place != race.winner
            for promise in ((part,) if isinstance(part, Promise) else part.promises())
            if not replay.is_settled(promise.id)
        }
        self._calls.result.cancels = (*self._calls.result.cancels, *losers)

    def _value(self, join: Join) -> Any:
        if isinstance(join.request, Race):
            assert join.winner is not None
            place = join.winner
            try:
                return self._value_of(join.parts[place])
            except BaseException as error:
                if error is self._calls.replay.mismatch:
                    raise
                note_place(error, self._calls.replay, "ctx.race", place, _named(join.parts[place]))
                raise
        values: list[Any] = []
        parts = iter(join.parts)
        while True:
            try:
                # What it has taken before a failure is kept.
                values.extend(map(self._value_of, parts))
                return values
            except BaseException as error:
                if error is self._calls.replay.mismatch:
                    raise
                place = len(values)
                failed = _named(join.parts[place])
                note_place(error, self._calls.replay, join.request.label, place, failed)
                if not join.request.return_exceptions:
                    raise
                values.append(error)

    def _value_of(self, part: Promise[Any] | Join) -> Any:
        if isinstance(part, Promise):
            return self._calls.replay.consume(part)
        return self._value(part)


def _spec_of(race: Join) -> CallSpec:
    assert isinstance(race.request, Race)
    return race.request.spec


def _named(part: Promise[Any] | Join) -> Promise[Any] | str:
    """Return a promise as it is, and a join in words."""
    return part if isinstance(part, Promise) else f"{part.request.label} of {len(part.parts)}"
