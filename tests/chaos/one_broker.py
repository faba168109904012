"""Chaos with one broker over SQLite: it, its nodes and its clients are killed and stopped."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import trio

from tests.chaos.client import THREADS
from tests.chaos.faults import EVERY_S, STOPPED_LEASES, plan
from tests.chaos.observer import Observer
from tests.chaos.processes import (
    CLIENTS,
    LEASE_S,
    NODES,
    broker_spec,
    client_specs,
    environment,
    node_specs,
)
from tests.chaos.recovery import recovery
from tests.chaos.verdict import Evidence, Row
from tests.chaos.world import World
from understudy.bench.deployment import free_port
from understudy.values import Codec
from understudy_actors.processes import Pool

#: The file of the store, in the folder of a run.
STORE: Final = "chaos.db"


def run(folder: Path, seed: int, seconds: float) -> None:
    """Run chaos with all data in `folder`."""
    url = f"tcp://127.0.0.1:{free_port()}"
    env = environment(folder, url, seed)
    flags = ["--listen", url, "--store", f"sqlite:///{folder / STORE}"]
    names = [f"c{number}" for number in range(CLIENTS)]
    specs = [broker_spec("broker", flags, env), *node_specs(NODES, env), *client_specs(names, env)]
    low, high = STOPPED_LEASES
    acts = plan(seed, seconds, EVERY_S, lambda dice: LEASE_S * dice.uniform(low, high))

    async def trouble(world: World, pool: Pool) -> None:
        with Observer(url) as observer:
            await world.follow(acts, seconds, pool)
            await world.calm_down()
        world.log.write("refused", "stale writes", str(observer.total("stale_writes")))

    trio.run(World(folder, specs, CLIENTS * THREADS).run, trouble)


def rows(folder: Path) -> dict[str, Row]:
    """Read the promises of the store, with decoded values."""
    codec = Codec()
    with closing(sqlite3.connect(f"file:{folder / STORE}?mode=ro", uri=True)) as database:
        found = database.execute("SELECT id, state, value_data, settled_at FROM promise")
        return {
            id: Row(state, codec.decode_value(value) if state == "resolved" else None, settled_at)
            for id, state, value, settled_at in found
        }


def figures(evidence: Evidence) -> dict[str, Any]:
    """Return the figures that concern one broker."""
    (refused,) = [event.text for event in evidence.world if event.kind == "refused"]
    found: dict[str, Any] = {"stale writes refused, at least": int(refused)}
    return found | recovery(evidence, LEASE_S * 1000)


def violations(evidence: Evidence) -> dict[str, list[str]]:
    """Return what must not be, beside what `verdict` knows: nothing."""
    return {}
