"""Worlds in which brokers share one database: the product's engine over a model of PostgreSQL."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.plan import OF_SHARED, draw
from tests.simulation.run import Forced, Outcome, command, play_block, trace_of
from tests.simulation.shared import patches
from tests.simulation.world import World

SHARED = Forced(shared=True)
SEEDS = 60
BLOCKS = 3


def played(seeds: range) -> Outcome:
    """Play seeds, none of which may violate a property."""
    outcome = play_block(seeds, SHARED)
    told = [f"{command(seed, SHARED)}: {text}" for seed, text in outcome.failures]
    assert not told, "\n".join(told)
    return outcome


@pytest.mark.parametrize("block", range(BLOCKS))
def test_brokers_that_share_a_database(block: int) -> None:
    """Much happens between them and to the database; otherwise these worlds would prove little."""
    each = SEEDS // BLOCKS
    counts = played(range(1_000 + block * each, 1_000 + (block + 1) * each)).counts
    assert counts["worlds of a shared database"] == each
    for name, least in {
        "takeovers": 3,
        "hand-overs": 100,
        "slots moved": 2_000,
        "outages": 2,
        "failovers": 2,
        "database connections cut": 20,
        "brokers told to leave": 1,
        "waits for a lock": 10,
        "commits": 300,
    }.items():
        assert counts[name] >= least, (name, counts)


def test_brokers_that_live_are_left_alone() -> None:
    """The database is away for longer than a lease, and then everybody's pulse is old."""
    counts: Counter[str] = Counter()
    for seed in range(8):
        plan = draw(seed, 3, shared=True)
        plan.starts_ms, plan.faults = (0, 0, 0), ["database away"]
        plan.fault_rate, plan.faults_max, plan.unfair_ms = 0.01, 4, 30_000
        world = World(plan)
        world.run()
        counts.update(world.counts)
    assert counts["outages"] > 10
    assert counts["takeovers"] == 0


def paused(at: int) -> World:
    """Play a world in which a broker is stopped before one event, for longer than its lease."""
    plan = draw(3, 2, shared=True)
    plan.starts_ms, plan.faults, plan.unfair_ms = (0, 0), ["broker freeze"], 9_000
    plan.fault_rate, plan.disk_ms, plan.net_ms = 0.0, (0, 2), (0, 1)
    # Otherwise a new session finds it out before the commit is sent.
    plan.ends_sessions = False
    world = World(plan)
    step = world.step

    def stopping() -> bool:
        if world.events == at:
            world.brokers[1].freeze(world.now + 5_000)
        return step()

    world.step = stopping  # type: ignore[method-assign]
    world.run()
    return world


def test_a_broker_that_is_stopped_at_any_moment_is_fenced() -> None:
    """Some are stopped when a commit is about to be sent, and only that finds it out."""
    counts: Counter[str] = Counter()
    for at in range(241, 341, 3):
        counts.update(paused(at).counts)
    assert counts["takeovers"] > 26
    assert counts["commits refused: fenced"] > 1


def test_some_worlds_have_a_shared_database() -> None:
    plans = [draw(seed) for seed in range(500)]
    shared = [plan for plan in plans if plan.shared]
    assert len(shared) > 30
    assert {plan.brokers for plan in shared} == {2, 3, 4}
    assert {kind for plan in shared for kind in plan.faults} >= {*OF_SHARED}


def test_a_seed_is_the_same_every_time() -> None:
    for seed in range(0, 40, 8):
        assert trace_of(seed, SHARED) == trace_of(seed, SHARED)


@pytest.mark.parametrize(
    "package",
    [
        "understudy_store.store",
        "understudy_store.engines.journaled",
        "understudy_store.engines.postgres",
        "understudy_broker.server.sharing",
    ],
)
def test_nothing_of_the_engine_knows_of_the_real_time(package: str) -> None:
    """Otherwise a seed would not be the same in every play."""
    assert patches.unreplaced(package) == []
