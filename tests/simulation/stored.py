"""What is stored in a world, wherever it is: on a disk of each broker, or in a shared database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from tests.simulation.observations import Count, Durable
from tests.simulation.own_disk import OwnDisk
from understudy_broker.protocol.messages import SlotMap
from understudy_broker.protocol.placement import owners
from understudy_store.records import Row
from understudy_store.slots import slot_of

if TYPE_CHECKING:
    from tests.simulation.broker import BrokerHost


class Stored(Protocol):
    """All that is stored.

    Attributes
    ----------
    durable
        The observations on it.
    """

    durable: Durable

    def owner(self, id_: str) -> BrokerHost | None:
        """Return the broker that has the slot of an id; None: nobody has it at the moment."""

    def row(self, id_: str) -> Row | None:
        """Return a promise and its task; None: there is none."""

    @property
    def rows(self) -> Mapping[str, Row]:
        """All promises."""

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let brokers work with it meanwhile."""

    def heal(self) -> None:
        """Let nothing fail from now on."""

    def unfinished(self) -> list[str]:
        """Return what is left to do, in words."""


class OwnDisks:
    """The disks of brokers that share nothing, each with the slots of a fixed map."""

    def __init__(self, brokers: Sequence[BrokerHost], slots: SlotMap, count: Count) -> None:
        self.durable = Durable(count)
        self._disks = {broker.name: OwnDisk(broker, self.durable) for broker in brokers}
        by_name = {broker.name: broker for broker in brokers}
        self._owners = [by_name[name or ""] for name in owners(slots)]
        for broker in brokers:
            broker.storage = self._disks[broker.name]

    def owner(self, id_: str) -> BrokerHost | None:
        return self._owners[slot_of(id_)]

    def row(self, id_: str) -> Row | None:
        return self._disks[self._owners[slot_of(id_)].name].disk.rows.get(id_)

    @property
    def rows(self) -> Mapping[str, Row]:
        first, *others = self._disks.values()
        if not others:
            return first.disk.rows
        return {id_: row for each in (first, *others) for id_, row in each.disk.rows.items()}

    @contextmanager
    def at_work(self) -> Iterator[None]:
        yield

    def heal(self) -> None:
        for disk in self._disks.values():
            disk.fault = None

    def strike(self, broker: BrokerHost, fault: str) -> None:
        """Let the next write or read of a disk fail."""
        self._disks[broker.name].fault = fault

    def unfinished(self) -> list[str]:
        return []
