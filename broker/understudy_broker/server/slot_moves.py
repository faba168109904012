"""Moves of slots from one SQLite store to another, while the brokers of both are stopped.

A move is three durable steps, each one transaction of one store:

1. the source notes that the slots are leaving: no broker serves them from then on;
2. the target gets everything that is in them, in place of whatever it had, and notes that they are
   its own;
3. the source deletes them, and notes that they are the target's.

After a crash the same move, made again, goes on where the stores say that it is. Before step 2 the
source alone has the promises; after it, both have them, and the target's count, because the source
says that they are leaving. Brokers may be started in between: nobody owns slots that are leaving,
so calls of theirs wait.

Other brokers need not know of a move: the source and the target know of it, and whoever asks one of
them is told (`protocol.placement.merged`).

What is not perfect: a broker that is started after step 2 and before step 3 finds the old rows in
searches, so a search shows such promises twice, once as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from understudy_broker.errors import BrokerError
from understudy_broker.server.placement import (
    KEY,
    Placement,
    arrived,
    departed,
    from_text,
    left_behind,
    not_arrived,
    runs_text,
    settled,
    to_text,
)
from understudy_store.engines.sqlite import slot_rows
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.slots import SLOTS

#: Told the source, and the number of promises that were copied so far.
OnProgress: TypeAlias = Callable[[str, int], object]
#: the wish for all slots of the source
ALL: Final = range(SLOTS)


class SlotMoveError(BrokerError):
    """Slots cannot be moved; the message says why, and what to do."""


class SlotMoveUsageError(SlotMoveError):
    """A move names brokers that it cannot be between, so repeating it will not help."""


class _Open(NamedTuple):
    """A store that is open."""

    engine: SqliteEngine
    placement: Placement


class Part(NamedTuple):
    """The part of a move that has one source.

    Attributes
    ----------
    staying
        Slots that are still the source's own.
    leaving
        Slots that an earlier move has left on their way to the same target.
    """

    source: str
    staying: list[int]
    leaving: list[int]

    @property
    def slots(self) -> list[int]:
        """All of them."""
        return sorted([*self.staying, *self.leaving])


class SlotMoves:
    """The stores of some brokers, opened one by one, as a move needs them.

    A context manager, which closes them.

    Parameters
    ----------
    paths
        The file of each broker's store, by the broker's name.
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = paths
        self._open: dict[str, _Open] = {}
        self._stack = ExitStack()

    def __enter__(self) -> SlotMoves:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # Plans ---------------------------------------------------------------------------------------

    def plan(self, slots: Collection[int], source: str | None, to: str) -> list[Part]:
        """Return what is to be moved to a broker: nothing, if it has all of these slots.

        Parameters
        ----------
        source
            The broker that has them; None: the stores say which ones have them. With `ALL`, all of
            this broker's.

        Raises
        ------
        SlotMoveUsageError
            A broker is unknown, or source and target are the same.
        SlotMoveError
            Another broker has them, or nobody knows which one.
        StoreError
            A store cannot be opened, most often because its broker runs.
        """
        self._check_names(source, to)
        target = self._opened(to).placement
        if source is not None and slots is ALL:
            return self._of_all(source, to)
        wanted: dict[str, list[int]] = {}
        for slot in slots:
            if target.owners[slot] != to:
                wanted.setdefault(source or self._source_of(slot, target), []).append(slot)
                continue
            last = source or target.arrivals.get(slot)
            if source is not None:
                self._check_not_at_both(slot, source, to)
            if last is not None and self._has_leaving(last, slot):
                # Its promises are here, but a move was cut short before its source deleted them.
                wanted.setdefault(last, []).append(slot)
        return self._parts(wanted, to)

    def _check_names(self, source: str | None, to: str) -> None:
        for option, name in (("--to", to), ("--from", source)):
            if name is not None and name not in self._paths:
                raise SlotMoveUsageError(
                    f"{option}: no [[broker]] table of the file with a SQLite store has the name "
                    f"{name!r}; there are: {', '.join(sorted(self._paths)) or 'none'}"
                )
        if source == to:
            others = ", ".join(sorted(self._paths.keys() - {to}))
            raise SlotMoveUsageError(
                f"--from and --to are both {to!r}: name another broker with one of them; there "
                f"are: {others or 'no others'}"
            )

    def _check_not_at_both(self, slot: int, source: str, to: str) -> None:
        if self._paths[source].exists() and slot in self._opened(source).placement.own:
            raise SlotMoveError(
                f"the stores of {source!r} and {to!r} both say that they have slot {slot}: one of "
                "them is a copy from before a move. Put the right one back"
            )

    def _has_leaving(self, source: str, slot: int) -> bool:
        path = self._paths.get(source)
        if path is None or not path.exists():
            return False
        return slot in self._opened(source).placement.leaving

    def _of_all(self, source: str, to: str) -> list[Part]:
        placement = self._opened(source).placement
        others = sorted({way.to for way in placement.leaving.values()} - {to})
        if others:
            raise SlotMoveError(
                f"slots of {source!r} are on their way to {' and '.join(others)}: complete that "
                f"move first, with --to {others[0]}"
            )
        return self._parts({source: sorted([*placement.own, *placement.leaving])}, to)

    def _parts(self, wanted: Mapping[str, Collection[int]], to: str) -> list[Part]:
        found = [self._part(source, slots, to) for source, slots in sorted(wanted.items())]
        return [part for part in found if part.slots]

    def _part(self, source: str, slots: Collection[int], to: str) -> Part:
        placement = self._opened(source).placement
        own = set(placement.own)
        leaving = {slot for slot, way in placement.leaving.items() if way.to == to}
        foreign = [slot for slot in slots if slot not in own and slot not in leaving]
        for slot in foreign:
            way = placement.leaving.get(slot)
            if way is not None:
                raise SlotMoveError(
                    f"slot {slot} is on its way from {source!r} to {way.to!r}: complete that move "
                    f"first, with --to {way.to}"
                )
            raise SlotMoveError(
                f"the broker {source!r} does not have slot {slot}: as far as its store knows, "
                f"{placement.owners[slot] or 'nobody'} has it"
            )
        return Part(
            source,
            sorted(slot for slot in slots if slot in own),
            sorted(slot for slot in slots if slot in leaving),
        )

    def _source_of(self, slot: int, target: Placement) -> str:
        """Return the broker that has a slot, by following what the stores say."""
        if slot in target.leaving:
            to = target.leaving[slot].to
            raise SlotMoveError(
                f"slot {slot} is on its way from {target.broker!r} to {to!r}: complete that move "
                f"first, with --to {to}"
            )
        owner, asked = target.owners[slot], {target.broker}
        while owner is not None and owner not in asked:
            asked.add(owner)
            placement = self._opened(owner).placement
            if placement.owners[slot] == owner or slot in placement.leaving:
                return owner
            owner = placement.owners[slot]
        raise SlotMoveError(
            f"as far as the stores of {' and '.join(sorted(asked))} know, nobody has slot {slot}: "
            "say with --from which broker had it last"
        )

    def count(self, part: Part) -> int:
        """Return the number of promises in the slots of a part, settled ones included."""
        return slot_rows.count(self._opened(part.source).engine, part.slots)

    # Steps ---------------------------------------------------------------------------------------

    def move(self, part: Part, to: str, on_progress: OnProgress) -> int:
        """Move the slots of a part, or complete their move; return the number of promises."""
        steps = self.steps(part, to, on_progress)
        return sum(steps)

    def steps(self, part: Part, to: str, on_progress: OnProgress) -> Iterator[int]:
        """Make one step after the other, each durable; yield the promises that it has moved."""
        if part.staying:
            source, target = self._opened(part.source), self._opened(to)
            slot_rows.part_waits(source.engine)
            self._put(part.source, left_behind(source.placement, part.staying, target.placement))
            yield 0
        source, target = self._opened(part.source), self._opened(to)
        rest = not_arrived(target.placement, source.placement, part.slots)
        if rest:
            placement = arrived(target.placement, source.placement, rest)
            copied = slot_rows.copy(
                source.engine,
                target.engine,
                rest,
                (KEY, to_text(placement)),
                lambda count: on_progress(part.source, count),
            )
            self._open[to] = target._replace(placement=placement)
            yield copied
        placement = departed(source.placement, self._opened(to).placement, part.slots)
        slot_rows.drop(source.engine, part.slots, (KEY, to_text(placement)))
        self._open[part.source] = source._replace(placement=placement)
        self._put(to, settled(self._opened(to).placement, part.slots))
        yield 0

    def _put(self, name: str, placement: Placement) -> None:
        opened = self._opened(name)
        opened.engine.put_fact(KEY, to_text(placement))
        self._open[name] = opened._replace(placement=placement)

    # Stores --------------------------------------------------------------------------------------

    def _opened(self, name: str) -> _Open:
        """Return the store of a broker; opened at the first time, and kept until the end."""
        opened = self._open.get(name)
        if opened is None:
            opened = self._open[name] = self._open_store(name)
        return opened

    def _open_store(self, name: str) -> _Open:
        path = self._paths.get(name)
        if path is None:
            raise SlotMoveError(
                f"the store of the broker {name!r} is not on this machine, or the file has no "
                f"[[broker]] table of that name; there are: {', '.join(sorted(self._paths))}"
            )
        if not path.exists():
            raise SlotMoveError(
                f"there is no store of the broker {name!r} at {path}: start that broker once, and "
                "stop it again; or give the file with its table, and run this where its store is"
            )
        engine = SqliteEngine(path)
        self._stack.callback(engine.close)
        placement = from_text(engine.fact(KEY), str(path))
        if placement is None:
            raise SlotMoveError(
                f"the store {path} does not say which slots it has: start the broker {name!r} once "
                "with the [[broker]] tables of all brokers, and stop it again"
            )
        if placement.broker != name:
            raise SlotMoveError(
                f"the store {path} is that of the broker {placement.broker!r}, and not of {name!r}"
            )
        for other in self._open.values():
            if other.placement.deployment != placement.deployment:
                raise SlotMoveError(
                    f"the stores of {name!r} and {other.placement.broker!r} are of different "
                    f"deployments, {placement.deployment!r} and {other.placement.deployment!r}"
                )
        return _Open(engine, placement)


def all_of(parts: Iterable[Part]) -> str:
    """Return the slots of some parts as text."""
    return runs_text(sorted(slot for part in parts for slot in part.slots))
