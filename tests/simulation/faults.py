"""Faults: one function for each kind, and one that heals them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from tests.simulation.plan import FAULTS
from tests.simulation.shared.stored import SharedDatabase
from tests.simulation.slot_peer import SlotPeer
from tests.simulation.stored import OwnDisks

if TYPE_CHECKING:
    from tests.simulation.broker import BrokerHost
    from tests.simulation.wire import Connection
    from tests.simulation.world import World


T = TypeVar("T")

#: A jump that a broker does not believe.
YEARS_MS: Final = 3 * 365 * 24 * 3_600_000


def strike(world: World) -> None:
    """Draw one of the faults of this world, and apply it."""
    kinds = world.plan.faults
    at = world.rng.random() * sum(FAULTS[kind] for kind in kinds)
    for kind in kinds:
        at -= FAULTS[kind]
        if at <= 0:
            break
    world.say("world", "strikes", kind)
    world.counts["faults"] += 1
    _STRIKES[kind](world)


def heal(world: World) -> None:
    """Start all processes, restore all connections and the disk; and clocks that are far off."""
    for broker in world.brokers:
        if abs(broker.skew_ms) >= YEARS_MS:
            broker.skew_ms = 0
        broker.freeze(min(broker.frozen_until, world.now))
        if not broker.alive:
            world.after(0, broker.start)
    world.stored.heal()
    for link in world.links:
        link.partitioned_until = 0
    for host in world.peers:
        host.frozen_until = min(host.frozen_until, world.now)
        if not host.alive:
            world.after(0, host.start)
    for connection in world.connections.values():
        connection.stalled_until = 0


def _one(world: World, among: list[T]) -> T:
    return among[int(world.rng.random() * len(among))]


def _broker(world: World) -> BrokerHost:
    """Return one of the brokers; a world with one draws no number for it."""
    return world.brokers[0] if len(world.brokers) == 1 else _one(world, world.brokers)


def _connection(world: World) -> Connection | None:
    return _one(world, world.links).connection


def _node_crash(world: World) -> None:
    host = _one(world, world.nodes)
    if host.alive and world.rng.random() < 0.3:
        # It stays away for longer than its lease, so its name becomes free meanwhile.
        away_ms = 2 * world.plan.lease_ttl_ms
        host.crash("killed, for long", away_ms)
    else:
        host.crash()


def _client_crash(world: World) -> None:
    _one(world, world.clients).crash()


def _node_drain(world: World) -> None:
    _one(world, world.nodes).drain()


def _node_freeze(world: World) -> None:
    host = _one(world, world.nodes)
    ttl_ms = world.plan.lease_ttl_ms
    ms = world.pick((30, ttl_ms // 2, ttl_ms + ttl_ms // 2))
    world.counts["freezes"] += 1
    host.frozen_until = max(host.frozen_until, world.now + ms)


def _broker_crash(world: World) -> None:
    _broker(world).crash()


def _broker_freeze(world: World) -> None:
    ttl_ms = world.plan.lease_ttl_ms
    world.counts["freezes"] += 1
    ms = world.pick((30, ttl_ms // 2, 2 * ttl_ms))
    if world.plan.shared:
        # Shorter or longer than the lease of a broker.
        ms = world.pick((30, 2_000, 4_000, 9_000))
    _broker(world).freeze(world.now + ms)


def _close(world: World) -> None:
    connection = _connection(world)
    if connection is not None:
        world.counts["cuts"] += 1
        connection.close()


def _half_open(world: World) -> None:
    connection = _connection(world)
    if connection is not None:
        world.counts["cuts"] += 1
        connection.deafen()


def _partition(world: World) -> None:
    """Cut some hosts off from brokers for a while, in both directions."""
    ms = world.pick((100, world.plan.lease_ttl_ms, 2 * world.plan.lease_ttl_ms))
    for link in world.links:
        if world.rng.random() < 0.5:
            world.counts["partitions"] += 1
            link.partitioned_until = world.now + ms
            if link.connection is not None:
                link.connection.deafen()


def _brokers_apart(world: World) -> None:
    """Cut one broker off from the others for a while; another crash may come in this time."""
    broker = _broker(world)
    ms = world.pick((100, world.plan.lease_ttl_ms, 2 * world.plan.lease_ttl_ms))
    for link in world.links:
        if isinstance(link.host, SlotPeer) and broker in (link.broker, link.host.broker):
            world.counts["partitions"] += 1
            link.partitioned_until = world.now + ms
            if link.connection is not None:
                link.connection.deafen()
    if world.rng.random() < 0.7:
        world.after(int(world.rng.random() * ms), lambda: _crash_in_time(world, _broker(world)))


def _crash_in_time(world: World, broker: BrokerHost) -> None:
    """Crash a broker, unless the fair phase has begun."""
    if not world.fair:
        broker.crash()


def _stall(world: World) -> None:
    """Delay packets, as if they were lost and sent again: all of them arrive, late."""
    ms = world.pick((50, world.plan.lease_ttl_ms // 2, 2 * world.plan.lease_ttl_ms))
    connection = _connection(world)
    if connection is not None:
        world.counts["stalls"] += 1
        connection.stall(ms)


def _disk(world: World) -> None:
    fault = ("before", "after", "read")[int(world.rng.random() * 3)]
    if isinstance(world.stored, OwnDisks):
        world.stored.strike(_broker(world), fault)


def _broker_leave(world: World) -> None:
    _broker(world).leave()


def _database_cut(world: World) -> None:
    if isinstance(world.stored, SharedDatabase):
        world.stored.cut()


def _database_apart(world: World) -> None:
    if isinstance(world.stored, SharedDatabase):
        world.stored.cut_off(_broker(world))


def _database_away(world: World) -> None:
    if isinstance(world.stored, SharedDatabase):
        world.stored.stop(fails_over=False)


def _failover(world: World) -> None:
    if isinstance(world.stored, SharedDatabase):
        world.stored.stop(fails_over=True)


def _clock(world: World) -> None:
    """Set a wall clock forward or back; the broker's schedules follow, or it is asked about."""
    ms = world.pick((-100_000, -1_000, 1_000, 100_000))
    world.counts["clock jumps"] += 1
    if world.rng.random() < 0.3:
        if world.rng.random() < 0.3:
            ms = world.pick((-YEARS_MS, YEARS_MS))
        broker = _broker(world)
        broker.skew_ms = ms
        broker.was_set = True
        world.set_ahead_ms = max(world.set_ahead_ms, ms)
        if broker.alive:
            broker.wake(0)
    else:
        _one(world, world.peers).skew_ms = ms


def _deploy(world: World) -> None:
    """Replace the code of a node: go on with a deploy, or take it back."""
    host = _one(world, world.nodes)
    host.deploy(1 - host.release, in_order=world.rng.random() < 0.7)


def _give_back(world: World) -> None:
    _one(world, world.nodes).give_back()


def _cancel(world: World) -> None:
    world.people.cancel()


def _halt(world: World) -> None:
    world.people.halt()


_STRIKES: Final[dict[str, Callable[[World], None]]] = {
    "node crash": _node_crash,
    "node drain": _node_drain,
    "node freeze": _node_freeze,
    "client crash": _client_crash,
    "broker crash": _broker_crash,
    "broker freeze": _broker_freeze,
    "close": _close,
    "half-open": _half_open,
    "partition": _partition,
    "stall": _stall,
    "brokers apart": _brokers_apart,
    "disk": _disk,
    "clock": _clock,
    "give back": _give_back,
    "cancel": _cancel,
    "halt": _halt,
    "deploy": _deploy,
    "broker leave": _broker_leave,
    "database cut": _database_cut,
    "database apart": _database_apart,
    "database away": _database_away,
    "failover": _failover,
}
