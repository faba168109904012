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
        "brokers told to leave": 3,
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
