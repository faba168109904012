"""Where a broker's promises are: on a disk of its own, or in a database that brokers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from tests.simulation.observations import Memory
from understudy_broker.core.outbox import Batch
from understudy_store.records import Row

T = TypeVar("T")


class Storage(Protocol):
    """The store of a broker's host, through all its processes.

    Attributes
    ----------
    memory
        The observations on the machine of the present process.
    committing
        The batch that is being written; None: none is.
    """

    memory: Memory
    committing: Batch | None

    def open(self) -> None:
        """Begin a process: `BrokerHost.begin` is called when the store is open."""

    def history(self) -> Mapping[str, Row]:
        """Return all that is stored of what the broker has in its machine."""

    def attach(self) -> None:
        """Take note of the core that `begin` has made."""

    def end(self) -> None:
        """Kill the process."""

    def within(self, act: Callable[[], T]) -> T:
        """Call `act` as the process does, on its main thread."""

    def freeze(self, until: int) -> None:
        """Stop the process until this time."""

    def leave(self) -> bool:
        """Begin to leave in order; return False if that is nothing else than to be killed."""

    @property
    def is_fresh(self) -> bool:
        """False if memory may be out of date."""

    @property
    def is_idle(self) -> bool:
        """True if nothing is being written, and no slots come or leave."""

    @property
    def is_stopping(self) -> bool:
        """True if nothing is performed any more, and only the last batch is waited for."""

    def failed(self, error: Exception) -> None:
        """End the process, because its store has failed."""

    def unfinished(self) -> list[str]:
        """Return what is left to do, in words."""

    def waiting(self) -> list[tuple[str, str]]:
        """Return who waits for what, by what is stored: a promise's id, and an id or address."""

    def take(self) -> None:
        """Give the broker what has been read and written since the last turn."""

    def turn(self) -> None:
        """Let slots come and leave."""

    def find(self, ids: set[str]) -> list[Row] | None:
        """Look rows up; None: they come later."""

    def commit(self, batch: Batch) -> None:
        """Begin to write a batch."""
