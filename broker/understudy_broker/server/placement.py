"""Placements: the slots of a broker, as its store says it. Pure.

The store of each broker that shares the slots has a placement: the map of slots as this broker
knows it, and the slots that are leaving for another store. So it is the stores that say where the
promises are, and not the names in a file, which anybody may change. Each broker knows for certain
only of its own slots. Of the others it knows what was so at some time: maps are `merged` by those
that read several.

A slot moves in three steps (`slot_moves`), and its version in the map goes up with each change:

1. the source's placement says that it is *leaving*: nobody's from then on, version + 1;
2. the target's placement says that it is its own, version + 2;
3. the source's placement says that it is the target's, version + 2.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from understudy_broker.errors import BrokerError
from understudy_broker.protocol.messages import SlotMap
from understudy_broker.protocol.placement import merged, owners, slot_map, versions
from understudy_store.slots import SLOTS

#: the key of the placement among the texts in a store
KEY: Final = "placement"


class PlacementError(BrokerError):
    """Store and settings disagree about slots; the message says what to do."""


class SlotConflictError(BrokerError):
    """Two brokers have the same slots, most often because a store was copied."""


class Leaving(msgspec.Struct, frozen=True):
    """The way of a slot that leaves.

    Attributes
    ----------
    to
        The broker that is to have it.
    version
        The version of the slot once that broker has it.
    """

    to: str
    version: int


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """The slots of a broker, and of the others as far as it knows.

    Attributes
    ----------
    deployment, broker
        The names of the deployment, and of the broker that the store belongs to.
    version
        The version of the map.
    brokers
        The names of all brokers. Addresses are in the settings, because they may change.
    owners
        The name of the owner of each slot; None: nobody's.
    since
        The version in which each slot came to its owner.
    leaving
        Slots whose promises are here, and which nobody owns until they are at another broker.
    arrivals
        Slots that are here while their source perhaps still has them as leaving; and that source.
    """

    deployment: str
    broker: str
    version: int
    brokers: tuple[str, ...]
    owners: tuple[str | None, ...]
    since: tuple[int, ...]
    leaving: dict[int, Leaving] = {}
    arrivals: dict[int, str] = {}

    @property
    def own(self) -> list[int]:
        """The slots of this broker."""
        return [slot for slot, owner in enumerate(self.owners) if owner == self.broker]

    def slots(self, addresses: Mapping[str, str]) -> SlotMap:
        """Return the map of slots with the addresses of the brokers."""
        brokers = {name: addresses.get(name, "") for name in self.brokers}
        return slot_map(self.version, brokers, self.owners, self.since)


def placement_of(slots: SlotMap, deployment: str, broker: str) -> Placement:
    """Return the placement of a broker to which a map applies."""
    return Placement(
        deployment=deployment,
        broker=broker,
        version=slots.version,
        brokers=tuple(sorted(name for name, _ in slots.brokers)),
        owners=tuple(owners(slots)),
        since=tuple(versions(slots)),
    )


def sole_placement(deployment: str, broker: str, brokers: Iterable[str]) -> Placement:
    """Return the placement of a broker that has all slots, because it was the only one."""
    return Placement(
        deployment=deployment,
        broker=broker,
        version=1,
        brokers=tuple(sorted({broker, *brokers})),
        owners=(broker,) * SLOTS,
        since=(1,) * SLOTS,
    )


def with_brokers(placement: Placement, brokers: Iterable[str]) -> Placement:
    """Return a placement with these brokers, and a newer version if they are others than before.

    Those that are left out have no slots.
    """
    names = tuple(sorted(brokers))
    if names == placement.brokers:
        return placement
    return replace(placement, brokers=names, version=placement.version + 1)


def learned(placement: Placement, other: Placement) -> Placement:
    """Return a placement that also knows what that of another broker says of slots.

    Its own slots, and those that leave, stay as they are.
    """
    theirs = other.slots({})
    mine = placement.slots({})
    found = placement_of(merged(mine, theirs), placement.deployment, placement.broker)
    kept = {*placement.own, *placement.leaving}
    return replace(
        found,
        brokers=tuple(sorted({*found.brokers, *placement.brokers})),
        owners=tuple(
            placement.owners[slot] if slot in kept else owner
            for slot, owner in enumerate(found.owners)
        ),
        since=tuple(
            placement.since[slot] if slot in kept else version
            for slot, version in enumerate(found.since)
        ),
        leaving=placement.leaving,
        arrivals=placement.arrivals,
    )


def conflict(mine: SlotMap, broker: str, theirs: SlotMap) -> list[int]:
    """Return slots of a broker that went elsewhere, as another map of the deployment says.

    A slot has a greater version at each owner than at the one before. So if another map gives a
    slot of this broker to another one, at the same or a greater version, two brokers have it: most
    often, one of them was started with a copy of a store from before the slot was moved. The slot
    may also have come back since: then others know a greater version of it than this broker itself.
    """
    rows = zip(owners(mine), versions(mine), owners(theirs), versions(theirs), strict=True)
    return [
        slot
        for slot, (my_owner, my_version, its_owner, its_version) in enumerate(rows)
        if my_owner == broker
        and (its_version > my_version or (its_version == my_version and its_owner != broker))
    ]


# The three steps of a move -----------------------------------------------------------------------


def left_behind(source: Placement, slots: Collection[int], to: Placement) -> Placement:
    """Return the source's placement once some of its slots are leaving for the broker `to`."""
    version = max(source.version, to.version) + 1
    leaving = {slot: Leaving(to.broker, version + 1) for slot in slots}
    return _changed(
        source, dict.fromkeys(slots, version), None, leaving={**source.leaving, **leaving}
    )


def arrived(target: Placement, source: Placement, slots: Iterable[int]) -> Placement:
    """Return the target's placement once it has slots that are leaving the source.

    They may have left the target itself before, in a move that was never completed.
    """
    since = {slot: source.leaving[slot].version for slot in slots}
    arrivals = {**target.arrivals, **dict.fromkeys(since, source.broker)}
    leaving = {slot: way for slot, way in target.leaving.items() if slot not in since}
    known = learned(replace(target, leaving=leaving), source)
    return _changed(known, since, target.broker, arrivals=arrivals)


def not_arrived(target: Placement, source: Placement, slots: Iterable[int]) -> list[int]:
    """Return those of the slots that are leaving the source which the target has never had.

    It may have had them before a move was cut short, and have passed them on since.
    """
    return [slot for slot in slots if target.since[slot] < source.leaving[slot].version]


def departed(source: Placement, target: Placement, slots: Collection[int]) -> Placement:
    """Return the source's placement once slots that were leaving are, or have been, at the target.

    It takes the owner of those slots from the target, which may have passed them on.
    """
    leaving = {slot: way for slot, way in source.leaving.items() if slot not in slots}
    return learned(replace(source, leaving=leaving), target)


def settled(target: Placement, slots: Collection[int]) -> Placement:
    """Return the target's placement once its source has deleted slots that are at the target."""
    arrivals = {slot: name for slot, name in target.arrivals.items() if slot not in slots}
    return replace(target, arrivals=arrivals)


def _changed(
    placement: Placement, since: Mapping[int, int], owner: str | None, **changes: Any
) -> Placement:
    """Return a placement in which some slots have another owner since some version."""
    return replace(
        placement,
        version=max([placement.version, *since.values()]),
        owners=tuple(owner if s in since else each for s, each in enumerate(placement.owners)),
        since=tuple(since.get(s, each) for s, each in enumerate(placement.since)),
        **changes,
    )


# As text -----------------------------------------------------------------------------------------


def to_text(placement: Placement) -> str:
    """Return a placement as it is stored."""
    return msgspec.json.encode(placement).decode()


def from_text(text: str | None, store: str) -> Placement | None:
    """Return the placement that a store has; None if it has none.

    Raises
    ------
    PlacementError
        It cannot be read.
    """
    if text is None:
        return None
    try:
        placement = msgspec.json.decode(text, type=Placement)
    except msgspec.MsgspecError as error:
        raise PlacementError(
            f"the store {store} says in a form that is unknown here which slots it has ({error}): "
            "a newer understudy wrote it, or the file is damaged. Upgrade understudy, or restore "
            "the store from a copy"
        ) from None
    if not len(placement.owners) == len(placement.since) == SLOTS:
        raise PlacementError(
            f"the store {store} says of {len(placement.owners)} slots which broker has them, "
            f"instead of {SLOTS}: restore it from a copy"
        )
    known = {*placement.brokers, None}
    for slot, (owner, since) in enumerate(zip(placement.owners, placement.since, strict=True)):
        if owner not in known or not 0 <= since <= placement.version:
            raise PlacementError(
                f"the store {store} says that {owner!r} has slot {slot} since version {since}; it "
                f"knows the brokers {', '.join(placement.brokers)} and version "
                f"{placement.version}: restore it from a copy"
            )
    return placement


def runs_text(numbers: Iterable[int]) -> str:
    """Return numbers in order as text, with runs that follow each other joined.

    Examples
    --------
    >>> runs_text([0, 1, 2, 40])
    '0-2, 40'
    """
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
