"""The port to a store that several brokers share: each slot has one owner among them.

The store says who owns what. Owners change in two ways. A broker hands slots over by its own hand;
or it has given no sign of life for the length of a lease, and another one takes over from it. The
machine of a slot works for its owner alone, from `load_slots` until `hand_over`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from understudy_store.changes import Snapshot
from understudy_store.engines.base import Engine
from understudy_store.slots import SLOTS


class Holdings(NamedTuple):
    """The owners of all slots, and the brokers that live, at one moment of the database.

    Attributes
    ----------
    version
        Grows with each slot that changes its owner.
    brokers
        Writer id, name and address of each broker that nobody has taken over from, in the order of
        ids. It includes brokers that were killed a moment ago.
    slots
        The writer id of each slot's owner; None: nobody has it.
    """

    version: int
    brokers: tuple[tuple[int, str, str], ...]
    slots: tuple[int | None, ...]

    def of(self, writer: int) -> list[int]:
        """Return the slots of a writer, in order."""
        return [slot for slot, owner in enumerate(self.slots) if owner == writer]


#: as before anything was read
NO_HOLDINGS = Holdings(-1, (), (None,) * SLOTS)


@runtime_checkable
class SharedEngine(Engine, Protocol):
    """An engine of which this broker has some slots.

    `load` returns a snapshot without any work: that of slots comes by `load_slots`. A search or a
    preload answers from this broker's slots alone. `find` does not look at slots: the caller asks
    for ids in its own. `load_slots` and `find` run on one thread, `hand_over` and `commit` on
    another.
    """

    @property
    def writer(self) -> int:
        """The id of this broker's start among the owners."""

    @property
    def identity(self) -> str:
        """A text that no other store has, for as long as this one exists."""

    def holdings(self) -> Holdings:
        """Return the owners as last read, without waiting."""

    def watch_holdings(self, on_change: Callable[[Holdings], None]) -> None:
        """Call `on_change` soon with the holdings as they are, then whenever they have changed.

        It is called on a thread of the engine, must be quick and must not raise. Versions never go
        back from one call to the next.
        """

    def look(self) -> None:
        """Read the holdings soon, because they have probably changed. Returns at once."""

    def load_slots(self, slots: Collection[int]) -> Snapshot:
        """Return all that a machine needs to go on with `slots`, which are this broker's.

        Its `now` is not before any commit to them; `epoch` is that of `load`.

        Raises
        ------
        StoreFencedError
            Another broker has taken over from this one.
        StoreError
            A slot is another broker's, by the database.
        """

    def hand_over(self, slots: Mapping[int, int], *, leaving: bool = False) -> Holdings:
        """Give slots away, after all commits so far; return the holdings after that.

        A slot whose receiver does not live any more, or which is not this broker's, stays where it
        is: the holdings tell.

        Parameters
        ----------
        slots
            Slot, and the writer id of its new owner. Nothing is committed to them any more.
        leaving
            This broker is about to end: the others give it no slots any more.

        Raises
        ------
        StoreError
            As for `commit`.
        """

    def numbers(self) -> dict[str, int]:
        """Return figures for people, without waiting.

        ``journal_rows``: rows of commits that are in the journal, and not in the tables yet.
        ``beat_age_ms``: how long ago the last sign of life was sent that the database has
        confirmed.
        """

    def suspect(self, writer: int) -> None:
        """Note that another broker seems to have died, before its lease says so.

        It is taken over from at once if the database finds that all its connections are gone.
        """

    def trust(self, writer: int) -> None:
        """Note that a broker that was suspected is there."""

    def wall_ns(self) -> int:
        """Return what the clock of the database shows, nanoseconds of the epoch.

        Brokers of one store go by it, because times that one has stored are read by others. It
        asks nobody.
        """

    def is_fresh(self) -> bool:
        """Return whether nobody can have taken over from this broker yet.

        It is false once the last sign of life that the database confirmed is older than 80 % of the
        lease; then what memory holds may be out of date. It costs a look at the clock.
        """
