"""Messages between the machine and an engine: a batch of changes one way, a snapshot the other.

The machine decides, the engine writes. A batch holds every object that it touched once, in its
final state, as immutable records: the engine may write them in another thread while the machine
already applies the next batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Generic, TypeVar

import msgspec
from msgspec.structs import replace

from understudy_store.pending_row import PendingRow
from understudy_store.records import AttemptRecord, PromiseRecord, Row, ScheduleRecord
from understudy_store.slots import slot_of

T = TypeVar("T")


class Changes(msgspec.Struct):
    """One transaction. Additions are written before removals."""

    #: greatest `now` of the batch, epoch milliseconds
    now: int
    inserted: list[Row] = []
    #: Of a promise that is still pending only the task has changed: every other field is fixed
    #: until it settles.
    updated: list[Row] = []
    #: (awaited, awaiter), where the awaited promise exists
    callbacks_added: list[tuple[str, str]] = []
    #: awaited ids whose callbacks are all consumed
    callbacks_removed: list[str] = []
    #: (awaited, address), likewise
    listeners_added: list[tuple[str, str]] = []
    listeners_removed: list[str] = []
    #: (promise id, address): owed until acknowledged
    unblocks_added: list[tuple[str, str]] = []
    unblocks_removed: list[tuple[str, str]] = []
    schedules_put: list[ScheduleRecord] = []
    schedules_deleted: list[str] = []
    #: Attempts for the log, of promises that are among the rows; see `AttemptRecord`.
    attempts: list[AttemptRecord] = []
    #: Ids of settled promises that are deleted, with their attempts, before all else.
    purged: list[str] = []
    #: rows that take the place of some of them: tombstones, and calls without their payloads
    replaced: list[Row] = []

    def __bool__(self) -> bool:
        return bool(
            self.inserted
            or self.updated
            or self.callbacks_added
            or self.callbacks_removed
            or self.listeners_added
            or self.listeners_removed
            or self.unblocks_added
            or self.unblocks_removed
            or self.schedules_put
            or self.schedules_deleted
            or self.attempts
            or self.purged
        )


class Snapshot(msgspec.Struct):
    """All that a machine needs to go on after a restart: live work, not history.

    The iterables may be long. They read from the store while they are iterated over, which must be
    before the first commit.
    """

    #: greatest time ever committed; the clock starts no earlier
    now: int = 0
    #: pending promises with their tasks
    live: Iterable[PendingRow] = []
    #: (awaited, awaiter), and (awaited, address)
    callbacks: Iterable[tuple[str, str]] = []
    listeners: Iterable[tuple[str, str]] = []
    #: (settled promise, address)
    unblocks: list[tuple[PromiseRecord, str]] = []
    schedules: list[ScheduleRecord] = []
    #: fencing epoch of this start of a broker; each commit repeats it (see `Engine`)
    epoch: int = 1


class _Within(Generic[T]):
    """The items whose ids are in some slots, read anew each time."""

    __slots__ = ("_id_of", "_items", "_slots")

    def __init__(
        self, items: Iterable[T], slots: Collection[int], id_of: Callable[[T], str]
    ) -> None:
        self._items = items
        self._slots = slots
        self._id_of = id_of

    def __iter__(self) -> Iterator[T]:
        return (item for item in self._items if slot_of(self._id_of(item)) in self._slots)


def within(snapshot: Snapshot, slots: Collection[int]) -> Snapshot:
    """Return a snapshot without what is in other slots; long parts stay unread until needed."""
    return replace(
        snapshot,
        live=_Within(snapshot.live, slots, lambda row: row.id),
        callbacks=_Within(snapshot.callbacks, slots, _first),
        listeners=_Within(snapshot.listeners, slots, _first),
        unblocks=list(_Within(snapshot.unblocks, slots, lambda owed: owed[0].id)),
        schedules=list(_Within(snapshot.schedules, slots, lambda schedule: schedule.id)),
    )


def _first(pair: tuple[str, str]) -> str:
    return pair[0]
