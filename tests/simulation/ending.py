"""The end of a world: what is left to do, and the checks once nothing is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.broker import BrokerHost
from tests.simulation.observations import hold
from tests.simulation.programs import OWN_LEAVES, OWN_LETTERS
from understudy_store.addresses import slot_of_address
from understudy_store.records import (
    CANCELED,
    HEADER_FUNCTION,
    PENDING,
    TAG_BRANCH,
    TAG_PARENT,
    pid_of,
)

if TYPE_CHECKING:
    from tests.simulation.world import World


def unfinished(world: World) -> list[str]:
    """Return the work that is left, in words."""
    found = []
    for host in world.peers:
        missing = [root.id for root in host.roots if root.id not in host.told]
        if missing:
            found.append(f"{host.name} has not been told of {missing}")
        elif not host.alive:
            found.append(f"{host.name} is down")
        elif not host.idle:
            held = [(a.id, a.phase.value) for a in host.core.activations.values()]
            links = [link.session.statistics() for link in host.links]
            found.append(f"{host.name} is not idle: {held} {links}")
    found += world.stored.unfinished()
    for broker in world.brokers:
        found += _unfinished_at(world, broker)
    found += world.people.unfinished()
    return found or _credit_lost(world)


def _unfinished_at(world: World, broker: BrokerHost) -> list[str]:
    """Return the work that is left at a broker."""
    if broker.has_retired:
        return []
    if not broker.alive:
        return [f"{broker.name} is down"]
    # The address of a client that is gone is nobody else's, so its unblocks stay owed.
    here = {host.address for host in world.clients}
    state = broker.machine.state
    owed = [key for key in state.unblocks if key[1] in here or slot_of_address(key[1]) is not None]
    pending = broker.storage.unfinished()
    if pending or owed or state.pending or not broker.idle:
        return [*pending, f"{broker.name} owes {owed}, idle: {broker.idle}"]
    requests = broker.storage.within(broker.core.metrics.read).get("slot_requests", 0)
    return [f"{broker.name} has {requests} requests to other slots"] if requests else []


def _credit_lost(world: World) -> list[str]:
    """Return the idle nodes whose credit the brokers count differently."""
    found = []
    for host in world.nodes:
        credit = host.connected_credit
        pid = pid_of(host.name, str(host.epoch))
        available = sum(broker.core.dispatcher.available(pid) for broker in _present(world))
        if credit != available:
            found.append(f"{host.name} has announced {credit}, but the brokers count {available}")
    return found


def _present(world: World) -> list[BrokerHost]:
    """Return the brokers that have not left for good."""
    return [broker for broker in world.brokers if not broker.has_retired]


def check(world: World) -> None:
    """Check that no acknowledged call is missing, and that every call ended correctly."""
    for broker in _present(world):
        broker.count()
        broker.machine.check_all()
    rows = world.rows
    for id_ in world.acked:
        hold(id_ in rows, "p06: acknowledged, and lost", id_)
    for id_, row in rows.items():
        hold(row.promise.state != PENDING, "p18: pending at the end", row)
        if id_ in world.expected:
            # A detached call is below its caller, and may be below a home of its own.
            under = not world.may_cancel.isdisjoint(id_.split(".")) and id_ not in world.may_cancel
            if not (under and row.promise.state == CANCELED):
                world.check_result(row.promise)
    _check_releases(world)
    for id_ in world.results:
        hold(rows[id_].promise == world.results[id_], "p05: changed", id_)
    for broker in _present(world):
        _check_broker(broker)
    for host in world.nodes:
        statistics = host.core.statistics()
        hold(statistics.running == 0, "credit lost", host.name, statistics)
    world.people.check_end()


def _check_broker(broker: BrokerHost) -> None:
    """Check that a broker waits for nothing, in memory and on its disk."""
    statistics = broker.core.dispatcher.statistics()
    hold(statistics.queued == 0, "queued and over", statistics)
    state = broker.machine.state
    between = (state.asks, state.asked, state.awaiters_elsewhere, state.occurring)
    hold(not any(between), "p18: it waits for other slots at the end", broker.name, *between)
    waiting = [pair for pair in broker.storage.waiting() if not pair[1].startswith("poll://")]
    hold(not waiting, "p18: somebody is to hear of what is over", broker.name, waiting)


def _check_releases(world: World) -> None:
    """Check that each history is that of one release: a mismatch is found before a call."""
    by_caller: dict[str, int] = {}
    for row in world.rows.values():
        name, tags = row.promise.param.headers.get(HEADER_FUNCTION), row.promise.tags
        caller, _, last = row.promise.id.rpartition(".")
        release = None
        if name in OWN_LEAVES:
            caller, release = tags.get(TAG_PARENT) or tags[TAG_BRANCH], OWN_LEAVES.index(name)
        elif last[:1] in OWN_LETTERS:
            release = OWN_LETTERS.index(last[0])
        if release is not None:
            other = by_caller.setdefault(caller, release)
            hold(release == other, "calls of two releases in one history", caller)
