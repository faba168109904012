"""Placement: which broker a command concerns, and how slots are shared out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final

from understudy_broker.address import InvalidBrokerAddressError, check_address
from understudy_broker.protocol.messages import (
    NOBODY,
    AnyCommand,
    Delegated,
    FunctionsGet,
    GroupPause,
    GroupsGet,
    OwnCommand,
    PromiseCreateWatched,
    PromiseUnwatch,
    PromiseWatch,
    SlotMap,
)
from understudy_store.commands import (
    CallSearch,
    PromiseAnnounce,
    PromisePurge,
    PromiseRegisterCallback,
    PromiseRegisterListener,
    PromiseSearch,
    ScheduleSearch,
    StatsGet,
    TaskHeartbeat,
    TaskSearch,
)
from understudy_store.slots import SLOTS, slot_of, slots_of
from understudy_store.slots import shared_out as places_shared_out

#: commands that concern all brokers: no id says which
FOR_ALL: Final = (
    *(PromiseSearch, TaskSearch, CallSearch, PromisePurge, ScheduleSearch, StatsGet),
    *(GroupsGet, GroupPause, TaskHeartbeat),
)
#: A map that says more is nonsense, and no later one could be newer.
VERSION_MAX: Final = 2**53
#: commands with ids that may be in slots of several brokers
WATCHES: Final = (PromiseWatch, PromiseUnwatch)


def own_command(command: AnyCommand) -> OwnCommand:
    """Return what is to be performed, for whomever."""
    return command.command if isinstance(command, Delegated) else command


def in_name_of(whole: AnyCommand, part: OwnCommand) -> AnyCommand:
    """Return a part of a command, for the same identity as all of it."""
    return Delegated(whole.identity, part) if isinstance(whole, Delegated) else part


def routing_id(command: AnyCommand) -> str | None:
    """Return the id that a command is about; None if there is not just one.

    Examples
    --------
    >>> from understudy_store.commands import PromiseGet
    >>> routing_id(PromiseGet("order-7.3")), routing_id(PromiseSearch())
    ('order-7.3', None)
    """
    command = own_command(command)
    if isinstance(command, PromiseCreateWatched):
        return command.create.id
    if isinstance(command, PromiseRegisterCallback):
        return command.awaiter
    if isinstance(command, PromiseRegisterListener):
        return command.awaited
    if isinstance(command, PromiseAnnounce):
        return command.promise.id
    if isinstance(command, FunctionsGet):
        return command.group
    if isinstance(command, WATCHES):
        return command.ids[0] if len(command.ids) == 1 else None
    return None if isinstance(command, FOR_ALL) else command.id


def slot_concerned(command: AnyCommand) -> int | None:
    """Return the slot in which a command is performed; None if there is not just one.

    Examples
    --------
    >>> from understudy_store.commands import PromiseGet
    >>> slot_concerned(PromiseGet("order-7.3")), slot_concerned(PromiseSearch())
    (9, None)
    """
    if isinstance(command, PromiseAnnounce):
        return command.slot  # A broker asks for it itself.
    id_ = routing_id(command)
    return None if id_ is None else slot_of(id_)


def slots_concerned(command: AnyCommand) -> Iterable[int]:
    """Return the slots in which a command is performed; none, if it concerns all brokers.

    Examples
    --------
    >>> from understudy_store.commands import PromiseSearch
    >>> [*slots_concerned(PromiseWatch(("order-7", "order-8")))]
    [9, 153]
    >>> [*slots_concerned(PromiseSearch())]
    []
    """
    command = own_command(command)
    if isinstance(command, WATCHES):
        return slots_of(command.ids)
    slot = slot_concerned(command)
    return () if slot is None else (slot,)


def owners(slots: SlotMap) -> list[str | None]:
    """Return the name of the broker that owns each slot; None: nobody does.

    Slots that the map says nothing of, or gives to a broker that it does not list, are nobody's.
    """
    names: list[str | None] = []
    for last, place in slots.runs:
        known = place != NOBODY and 0 <= place < len(slots.brokers)
        name = slots.brokers[place][0] if known else None
        names += [name] * (min(last + 1, SLOTS) - len(names))
    return names + [None] * (SLOTS - len(names))


def versions(slots: SlotMap) -> list[int]:
    """Return the version in which each slot came to its owner, or to nobody."""
    since: list[int] = []
    for last, version in slots.since:
        since += [version] * (min(last + 1, SLOTS) - len(since))
    return since + [slots.version] * (SLOTS - len(since))


def flaw(slots: SlotMap) -> str | None:
    """Return what is wrong with a map that a broker tells; None: it can be used.

    Slots that belong to nobody are no flaw. But nothing may be left to guess, as with runs that
    overlap or a broker that is not listed: peers that guess otherwise ask different brokers.

    Examples
    --------
    >>> flaw(SlotMap(1, (("a", "tcp://a:5577"),), ((255, 0),)))
    >>> flaw(SlotMap(1, (("a", "tcp://a:5577"),), ((255, 1),)))
    'a run of slots up to 255 is that of broker 1, and there are 1, from 0 on'
    """
    if not 0 <= slots.version <= VERSION_MAX:
        return f"its version is {slots.version}"
    names = [name for name, _ in slots.brokers]
    if not all(names) or len({*names}) < len(names):
        return f"its brokers have no names of their own: {names}"
    for name, address in slots.brokers:
        try:
            check_address(address, schemes=("tcp", "ipc", "inproc"), port_min=1)
        except InvalidBrokerAddressError as error:
            return f"the address of the broker {name!r} is {address!r}: {error}"
    for what, runs in (("a run", slots.runs), ("a run of versions", slots.since)):
        if wrong := _flaw_of_runs(what, runs):
            return wrong
    for last, place in slots.runs:
        if place != NOBODY and not 0 <= place < len(names):
            return (
                f"a run of slots up to {last} is that of broker {place}, and there are "
                f"{len(names)}, from 0 on"
            )
    for last, version in slots.since:
        if not 0 <= version <= slots.version:
            return f"slots up to {last} have version {version}, and the map {slots.version}"
    return None


def _flaw_of_runs(what: str, runs: Iterable[tuple[int, int]]) -> str | None:
    before = -1
    for last, _ in runs:
        if not before < last < SLOTS:
            return f"{what} of slots ends with {last} after one that ends with {before}"
        before = last
    return None


def slot_map(
    version: int,
    brokers: Mapping[str, str],
    names: Sequence[str | None],
    since: Sequence[int],
) -> SlotMap:
    """Return a map of slots; the way back from `owners` and `versions`.

    Parameters
    ----------
    brokers
        The address of each broker.
    names, since
        The owner of each slot, one of `brokers`, and the version in which it came there.
    """
    place_of: dict[str | None, int] = {name: place for place, name in enumerate(brokers)}
    place_of[None] = NOBODY
    runs = runs_of(place_of[name] for name in names)
    ages = runs_of(since)
    return SlotMap(version, tuple(brokers.items()), runs, () if ages == _all(version) else ages)


def _all(value: int) -> tuple[tuple[int, int], ...]:
    return ((SLOTS - 1, value),)


def merged(known: SlotMap, other: SlotMap) -> SlotMap:
    """Return the map that knows of every move of which one of two maps of a deployment knows.

    A slot goes from owner to owner, and each gives it a greater version than the last. So of what
    two maps say of a slot, the greater version is right, whichever map is the newer one as a whole.
    The brokers are those of the newer map, and those of the other one that have slots.

    Returns
    -------
    `known` itself, if the other one has no news.

    Examples
    --------
    >>> first = shared_out([("a", "tcp://a:1"), ("b", "tcp://b:1")])
    >>> all_of_b = SlotMap(2, first.brokers, ((255, 1),))
    >>> merged(first, all_of_b) is all_of_b, merged(all_of_b, first) is all_of_b
    (True, True)
    """
    known_since, other_since = versions(known), versions(other)
    pairs = list(zip(known_since, other_since, strict=True))
    if other.version <= known.version and all(mine >= its for mine, its in pairs):
        return known
    if other.version > known.version and all(mine <= its for mine, its in pairs):
        return other
    is_news = [its > mine for mine, its in pairs]
    names = [
        its if news else mine
        for news, mine, its in zip(is_news, owners(known), owners(other), strict=True)
    ]
    newer, older = (other, known) if other.version > known.version else (known, other)
    owning = set(names)
    brokers = {name: address for name, address in older.brokers if name in owning}
    brokers.update(newer.brokers)
    since = [max(pair) for pair in pairs]
    return slot_map(newer.version, dict(sorted(brokers.items())), names, since)


def shared_out(brokers: Sequence[tuple[str, str]], version: int = 1) -> SlotMap:
    """Return the map in which all slots are shared out over brokers, by nothing but their names.

    `understudy_store.slots.shared_out` says how.

    Parameters
    ----------
    brokers
        Name and address of each, in any order; at least one.

    Examples
    --------
    >>> slots = shared_out([("a", "tcp://10.0.0.1:5577"), ("b", "tcp://10.0.0.2:5577")])
    >>> owners(slots).count("a"), owners(slots).count("b")
    (128, 128)
    """
    ordered = tuple(sorted(brokers))
    places = places_shared_out([name for name, _ in ordered])
    return SlotMap(version, ordered, runs_of(places))


def runs_of(places: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Return the place of each slot as runs of equal ones, as a `SlotMap` has them.

    Examples
    --------
    >>> runs_of([0, 0, 1, 0])
    ((1, 0), (2, 1), (3, 0))
    """
    runs: list[tuple[int, int]] = []
    last = -1
    for place, run in groupby(places):
        last += len(list(run))
        runs.append((last, place))
    return tuple(runs)
