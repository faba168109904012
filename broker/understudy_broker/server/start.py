"""The slots with which a broker starts: what store and settings say together. Pure.

=========================  ========================  =============================================
brokers in the settings    the store                 the broker
=========================  ========================  =============================================
one                        has no placement          has all slots, and there is no map
one                        is of the same name, has  goes on with a map that names it alone
                           all slots
one                        has another placement     is refused
several                    is of another deployment  is refused
                           or broker
several                    gives slots to a broker   must hear from the others that the slots have
                           that is not in the        moved since, else it is refused
                           settings
several                    has another placement     goes on with it; brokers that have come and
                                                     gone make a newer version
several                    has no placement, but     was a single one: it has all slots, and the
                           promises                  others have none until slots are moved
several                    has nothing               is new: it must hear from the others
several, new               another broker has a map  takes that map, with the slots that it gives
                                                     to this broker, if any
several, new               all others are new        founds the deployment if its name is the
                                                     smallest, else waits for that broker
several, new               another broker is silent  waits, because that one may have all slots
=========================  ========================  =============================================

A broker that is new never takes slots because nobody contradicts: a store that was mislaid would
otherwise be replaced by an empty one, and its calls made a second time. Two brokers that are new do
not both found, because the one with the smallest name does, and only once it has heard from each of
the others that it is new, too. A broker that is new by then becomes a broker with a map only by the
founder's map.

What is not perfect: a broker that has lost its disk, and starts with an empty store, gets the slots
back that the others know to be its own; their promises are lost. So it is told of in the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from understudy_broker.protocol.messages import SlotMap
from understudy_broker.protocol.placement import merged, shared_out
from understudy_broker.server.placement import (
    Placement,
    PlacementError,
    learned,
    placement_of,
    runs_text,
    sole_placement,
    with_brokers,
)
from understudy_store.slots import SLOTS


class Wanted(NamedTuple):
    """The broker, as the settings have it.

    Attributes
    ----------
    name
        Its name; None: it was given none.
    deployment
        The name that the file gives to the deployment; None: it gives none, and the name that the
        deployment began with stays.
    default_deployment
        The name of a deployment that begins now.
    addresses
        The address of each broker in the file's ``[[broker]]`` tables; none, if it has none.
    """

    name: str | None
    deployment: str | None
    default_deployment: str
    addresses: Mapping[str, str]


class Map(NamedTuple):
    """The answer of a broker that has slots, or could have some."""

    deployment: str
    slots: SlotMap


class New(NamedTuple):
    """The answer of a broker that is new itself."""


class Silent(NamedTuple):
    """No answer that says anything, and why."""

    why: str


Answer: TypeAlias = Map | New | Silent


class Wait(NamedTuple):
    """The brokers that a new one waits for, each with the reason."""

    reasons: dict[str, str]


def at_start(wanted: Wanted, stored: Placement | None, is_empty: bool) -> Placement | None:
    """Return the placement that a broker starts with; None: it must `ask` the others.

    A broker that is the only one, with a store that has never been one of several, needs none:
    ask `is_sole` first.

    Parameters
    ----------
    stored
        The placement of its store.
    is_empty
        The store has never had a promise.

    Raises
    ------
    PlacementError
        Store and settings disagree.
    """
    names = list(wanted.addresses)
    if stored is None:
        if is_empty:
            return None
        assert wanted.name is not None
        deployment = wanted.deployment or wanted.default_deployment
        return sole_placement(deployment, wanted.name, names)
    if len(names) < 2:
        _check_alone(wanted, stored)
    if stored.broker != wanted.name:
        raise PlacementError(
            f"the store is that of the broker {stored.broker!r} of the deployment "
            f"{stored.deployment!r}, and this is the broker {wanted.name!r}: each broker needs the "
            "store of its own"
        )
    if wanted.deployment is not None and stored.deployment != wanted.deployment:
        raise PlacementError(
            f"the store belongs to the deployment {stored.deployment!r}, and the file says that "
            f"this one is {wanted.deployment!r}: give each broker its own store, or write "
            f'deployment = "{stored.deployment}" into each [[broker]] table'
        )
    _check_targets(stored, names)
    if gone(stored, names):
        return None
    return with_brokers(stored, names)


def is_sole(wanted: Wanted, stored: Placement | None) -> bool:
    """Return whether a broker is the only one, and its store has never been one of several."""
    return len(wanted.addresses) < 2 and stored is None


def _check_alone(wanted: Wanted, stored: Placement) -> None:
    """Check that a broker which is to be the only one has everything."""
    own = stored.own
    if len(own) == SLOTS and wanted.name == stored.broker and wanted.addresses:
        return
    if len(own) == SLOTS:
        which = "all slots"
        advice = f'write its name into the file, as [[broker]] with name = "{stored.broker}"'
    else:
        which = f"the slots {runs_text(own)}" if own else "none of the slots"
        advice = (
            "start it with the [[broker]] tables of all brokers, or first move all slots to one "
            "store with: understudy slots move --all --from NAME --to NAME"
        )
    raise PlacementError(
        f"the store is that of the broker {stored.broker!r}, one of the deployment "
        f"{stored.deployment!r}, and has {which}; alone it would make calls a second time whose "
        f"promises are elsewhere: {advice}"
    )


def gone(placement: Placement, names: Iterable[str]) -> dict[str, list[int]]:
    """Return the slots of brokers that have no table any more, as far as a store knows."""
    known = set(names)
    found: dict[str, list[int]] = {}
    for slot, owner in enumerate(placement.owners):
        if owner is not None and owner not in known:
            found.setdefault(owner, []).append(slot)
    return found


def _check_gone(placement: Placement, names: Iterable[str]) -> None:
    """Check that brokers without a table have no slots."""
    for name, slots in sorted(gone(placement, names).items()):
        raise PlacementError(
            f"the broker {name!r} has the slots {runs_text(slots)}, and no [[broker]] table any "
            "more: put its table back, and move its slots to others before you remove it, with: "
            f"understudy slots move --all --from {name} --to NAME"
        )


def _check_targets(placement: Placement, names: Iterable[str]) -> None:
    """Check that brokers without a table are not to get slots."""
    known = set(names)
    for slot, way in sorted(placement.leaving.items()):
        if way.to not in known:
            raise PlacementError(
                f"slot {slot} is leaving for the broker {way.to!r}, which has no [[broker]] table "
                "any more: put its table back, and complete the move with: "
                f"understudy slots move {slot} --to {way.to}"
            )


def after_answers(
    wanted: Wanted, stored: Placement | None, answers: Mapping[str, Answer]
) -> Placement | Wait:
    """Return the placement of a broker that has asked the others, or for whom it must wait.

    Parameters
    ----------
    stored
        The placement of its store; None: it is new.
    answers
        Those of all others of the file, by name.

    Raises
    ------
    PlacementError
        The others are of another deployment, or there are slots of a broker without a table.
    """
    return of_new(wanted, answers) if stored is None else _caught_up(wanted, stored, answers)


def _caught_up(
    wanted: Wanted, stored: Placement, answers: Mapping[str, Answer]
) -> Placement | Wait:
    """Return the placement of a broker whose store knows slots of brokers that are gone."""
    found = stored
    for answer in answers.values():
        if isinstance(answer, Map) and answer.deployment == stored.deployment:
            theirs = placement_of(answer.slots, stored.deployment, stored.broker)
            found = learned(found, theirs)
    if left := gone(found, wanted.addresses):
        silent = {name: each.why for name, each in answers.items() if isinstance(each, Silent)}
        if silent:
            names = " and ".join(map(repr, sorted(left)))
            return Wait(
                {name: f"{why}; it may have slots of {names}" for name, why in silent.items()}
            )
        _check_gone(found, wanted.addresses)
    return with_brokers(found, wanted.addresses)


def of_new(wanted: Wanted, answers: Mapping[str, Answer]) -> Placement | Wait:
    """Return the placement of a new broker, or for whom it must wait.

    Parameters
    ----------
    answers
        Those of all others of the file, by name.

    Raises
    ------
    PlacementError
        The others are of another deployment, or have a broker that the file does not name.
    """
    assert wanted.name is not None
    maps = {name: answer for name, answer in answers.items() if isinstance(answer, Map)}
    if maps:
        return _taken(wanted, wanted.name, maps)
    silent = {name: each.why for name, each in answers.items() if isinstance(each, Silent)}
    if silent:
        return Wait(silent)
    founder = min(wanted.addresses)
    if founder != wanted.name:
        return Wait({founder: "it begins the deployment, once it has heard from all others"})
    deployment = wanted.deployment or wanted.default_deployment
    return placement_of(shared_out(list(wanted.addresses.items())), deployment, wanted.name)


def _taken(wanted: Wanted, name: str, maps: Mapping[str, Map]) -> Placement:
    """Return the placement of a new broker by the maps of the others."""
    (first, (deployment, slots)), *others = maps.items()
    for other, each in others:
        if each.deployment != deployment:
            raise PlacementError(
                f"the brokers {first!r} and {other!r} are of different deployments "
                f"({deployment!r} and {each.deployment!r}): check the addresses in the file"
            )
        slots = merged(slots, each.slots)
    if wanted.deployment is not None and deployment != wanted.deployment:
        raise PlacementError(
            f"the broker {first!r} is one of the deployment {deployment!r}, and the file says that "
            f"this one is {wanted.deployment!r}: check the addresses, and deployment in the file"
        )
    placement = placement_of(slots, deployment, name)
    _check_gone(placement, wanted.addresses)
    return with_brokers(placement, wanted.addresses)
