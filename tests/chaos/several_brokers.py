"""Chaos with brokers that share one PostgreSQL, of which a standby may take the place.

First a *storm*: faults of brokers and of the database come at random, one upon the other. Then they
come *one by one*: the next one when the slots are shared out among all brokers again, so that it
can be told how long calls wait because of each. Nodes are killed and stopped all the time, but for
those whose calls are measured.

Beside the faults, a ledger has these lines of the harness:

``owners``
    the first letters of the brokers that had the 256 slots before the fault that follows;
``joining``, ``leaving``
    of the fourth broker; ``cut``: some sessions of brokers; ``down``: the primary was killed;
    ``promoted``: the standby has taken its place;
``whole``
    the slots are shared out again; ``never``: they are not, after a long time;
``found``
    something that must not be at the end.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
import trio

from tests.chaos.app import LEFT, PROBE, RIGHT, STEADY
from tests.chaos.client import PROBES, THREADS
from tests.chaos.faults import Act, plan
from tests.chaos.processes import (
    LEASE_S,
    broker_spec,
    client_specs,
    environment,
    node_specs,
)
from tests.chaos.progress import ends_without_fault, progress, stands
from tests.chaos.verdict import Evidence, Row
from tests.chaos.world import World
from tests.cluster import find_programs
from tests.standby_pair import StandbyPair
from understudy.bench.deployment import free_port
from understudy.values import Codec
from understudy_actors.processes import Pool, ProcessSpec, open_pool
from understudy_store.slots import shared_out

NAMES: Final = ("a", "b", "c")
GUEST: Final = "d"
NODES: Final = {LEFT: 2, RIGHT: 2, STEADY: 2}
CLIENTS: Final = ("c0", "c1")
#: the promises at the end
STORE: Final = "promises.json"
#: How long brokers are stopped, in seconds: shorter and longer than their leases, which are 3 s.
STOPS_S: Final = (1.0, 4.0, 8.0)
#: Mean seconds between two faults of a kind: all the time, and in a storm.
ALWAYS: Final = {"kill node": 1.5, "stop node": 5.0}
STORM: Final = {
    "kill broker": 5.0,
    "term broker": 10.0,
    "stop broker": 10.0,
    "join guest": 15.0,
    "cut database": 4.0,
    "fail database": 45.0,
}
#: The share of a run that is a storm.
STORM_SHARE: Final = 0.35
#: Faults that come one by one; the order is drawn again for each round.
ROUND: Final = (
    *("kill broker", "kill broker", "term broker", "join guest", "cut database", "cut database"),
    *(f"stop broker {stop_s:g}" for stop_s in STOPS_S),
)
#: Failovers that come one by one are in these rounds. A storm has one too if it is long enough.
FAILOVER_ROUNDS: Final = (0, 3)
#: Seconds in which the slots must be shared out again after one fault.
WHOLE_S: Final = 30.0
#: Nothing is measured for so long after all is whole, so that faults do not mix.
REST_S: Final = 0.5
#: Seconds in which the tables must have everything at the end; they lag by about one.
SETTLE_S: Final = 20.0


class Trouble:
    """The faults of one run.

    Parameters
    ----------
    urls
        The addresses of the brokers, by their names.
    """

    def __init__(
        self,
        pair: StandbyPair,
        urls: dict[str, str],
        env: dict[str, str],
        seed: int,
        seconds: float,
    ) -> None:
        self._pair = pair
        self._urls = urls
        self._env = env
        self._seed = seed
        self._seconds = seconds
        self._random = random.Random(f"{seed} one by one")
        self._world: World
        self._pool: Pool
        self._has_guest = False
        self._is_failing = False

    async def __call__(self, world: World, pool: Pool) -> None:
        """Make all the trouble; see `World.run`."""
        self._world, self._pool = world, pool
        await self._wait_whole(NAMES)
        began_at = trio.current_time()
        acts = plan(self._seed, self._seconds, ALWAYS, _node_stop)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.follow, acts, self._seconds, pool)
            await self._storm(nursery, self._seconds * STORM_SHARE)
            while self._has_guest or self._is_failing:
                await trio.sleep(0.05)
            world.log.write("storm over", "world")
            await self._wait_whole(NAMES)
            await self._one_by_one(began_at + self._seconds)
        await world.calm_down()
        await self._note_groups()
        await self._check_end()

    async def _storm(self, nursery: trio.Nursery, seconds: float) -> None:
        began_at = trio.current_time()
        acts = plan(self._seed, seconds, STORM, lambda dice: dice.choice(STOPS_S))
        for act in acts:
            await trio.sleep_until(began_at + act.at_s)
            if act.kind == "broker":
                self._world.strike(act, self._pool)
            elif act.verb == "join" and not self._has_guest:
                nursery.start_soon(self._guest, 2.0 + act.target % 5)
            elif act.verb == "cut" and not self._is_failing:
                await self._cut(1 + act.target % 4)
            elif act.verb == "fail" and not self._is_failing:
                nursery.start_soon(self._fail_over)
        await trio.sleep_until(began_at + seconds)

    # One by one ----------------------------------------------------------------------------------

    async def _one_by_one(self, until: float) -> None:
        number = 0
        while trio.current_time() < until:
            names = self._random.sample(ROUND, len(ROUND))
            if number in FAILOVER_ROUNDS:
                names.insert(2, "fail database")
            for name in names:
                if trio.current_time() < until:
                    await self._one(name)
            number += 1

    async def _one(self, name: str) -> None:
        """Apply one fault, and wait until it is over."""
        verb, kind, *rest = name.split()
        before = await self._note_owners()
        hold_s = float(rest[0]) if rest else 0.0
        gone: set[int] = set()
        if kind == "broker":
            act = Act(0.0, verb, kind, self._random.randrange(1000), hold_s)
            struck = self._world.strike(act, self._pool)
            if struck is not None and verb != "stop":
                gone = {each[1] for each in before if each and struck.endswith(f"/{each[0]}")}
            await trio.sleep(hold_s)
        elif verb == "join":
            await self._guest_one_by_one()
            return
        elif verb == "cut":
            await self._cut(self._random.randint(1, 4))
        else:
            await self._fail_over()
        await trio.sleep(1.0)
        await self._wait_whole(NAMES, gone)

    async def _guest_one_by_one(self) -> None:
        async with self._open_guest():
            await trio.sleep(1.0)
            await self._wait_whole((*NAMES, GUEST))
            await self._note_owners()
        await trio.sleep(1.0)
        await self._wait_whole(NAMES)

    async def _note_owners(self) -> list[tuple[str, int] | None]:
        owners = await self._pair.call(self._pair.owners)
        letters = "".join(each[0] if each else "-" for each in owners)
        self._world.log.write("owners", "database", letters)
        return owners

    async def _wait_whole(self, names: Sequence[str], gone: set[int] | None = None) -> None:
        """Wait until these brokers share the slots, and writers that are gone have none."""
        expected = [names[place] for place in shared_out(names)]
        found: list[tuple[str, int] | None] = []
        with trio.move_on_after(WHOLE_S):
            while True:
                found = await self._pair.call(self._pair.owners)
                writers = {each[1] for each in found if each}
                names_now = [each and each[0] for each in found]
                if names_now == expected and writers.isdisjoint(gone or ()):
                    self._world.log.write("whole", "world")
                    await trio.sleep(REST_S)
                    return
                await trio.sleep(0.05)
        self._world.log.write("never", "world", f"{sorted({each for each in found if each})}")

    # Faults --------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _open_guest(self) -> AsyncIterator[None]:
        """Have a fourth broker, which leaves in order at the end."""
        async with open_pool(on_line=self._world.on_line, drain_timeout_s=20.0) as pool:
            self._world.log.write("joining", f"broker/{GUEST}")
            await pool.start(_broker(GUEST, self._urls[GUEST], self._pair.url, self._env))
            yield
            self._world.log.write("leaving", f"broker/{GUEST}")

    async def _guest(self, stay_s: float) -> None:
        self._has_guest = True
        async with self._open_guest():
            await trio.sleep(stay_s)
        self._has_guest = False

    async def _cut(self, count: int) -> None:
        try:
            cut = await self._pair.call(self._pair.cut, count)
        except psycopg.OperationalError:
            return
        self._world.log.write("cut", "database", str(cut))

    async def _fail_over(self) -> None:
        self._is_failing = True
        self._world.log.write("down", "database")
        await self._pair.call(self._pair.kill)
        await self._pair.call(self._pair.promote)
        self._world.log.write("promoted", "database")
        await trio.sleep(3)
        await self._pair.call(self._pair.renew)
        self._world.log.write("renewed", "database")
        self._is_failing = False

    # The end -------------------------------------------------------------------------------------

    async def _note_groups(self) -> None:
        """Keep what the brokers know, in case calls have not ended."""
        command = [sys.executable, "-m", "understudy", "groups", "--json"]
        environment = {**os.environ, **self._env}
        done = await trio.run_process(command, env=environment, capture_stdout=True, check=False)
        (self._world.folder / "groups.json").write_bytes(done.stdout)

    async def _check_end(self) -> None:
        """Check the database while the brokers still run."""
        await self._wait_whole(NAMES)
        checks = {
            "promises are pending": (
                "select to_jsonb(p) - 'param_data' from promise p where state = 'pending'"
            ),
            "unblocks are owed": "select promise_id, address from unblock",
            "callbacks are left": "select awaited from callback",
            "listeners are left": "select awaited from listener",
            "slots are of nobody, or of a writer that is fenced": (
                "select s.slot from slot s left join writer w on w.id = s.writer "
                "where w.id is null or w.fenced or not w.joined"
            ),
            "there are journal rows of fenced writers": (
                "select j.number from journal j join writer w on w.id = j.writer where w.fenced"
            ),
        }
        for text, query in checks.items():
            with trio.move_on_after(SETTLE_S):
                while await self._pair.call(self._pair.rows, query):
                    await trio.sleep(0.05)
            rows = await self._pair.call(self._pair.rows, query)
            if rows:
                self._world.log.write("found", "database", f"{text}: {len(rows)}, {rows[:40]}")


def _node_stop(dice: random.Random) -> float:
    return LEASE_S * dice.uniform(0.1, 2.5)


def _broker(name: str, url: str, store: str, env: dict[str, str]) -> ProcessSpec:
    return broker_spec(f"broker/{name}", ["--name", name, "--listen", url, "--store", store], env)


def run(folder: Path, seed: int, seconds: float) -> None:
    """Run chaos with all data in `folder`.

    Raises
    ------
    SystemExit
        There is no PostgreSQL.
    """
    programs = find_programs()
    if programs is None:
        raise SystemExit("no PostgreSQL is installed: install the development dependencies")
    urls = {name: f"tcp://127.0.0.1:{free_port()}" for name in (*NAMES, GUEST)}
    env = environment(folder, ",".join(urls[name] for name in NAMES), seed)
    with StandbyPair(programs, "chaos") as pair:
        specs = [_broker(name, urls[name], pair.url, env) for name in NAMES]
        specs += [*node_specs(NODES, env), *client_specs((*CLIENTS, PROBE), env)]
        world = World(folder, specs, len(CLIENTS) * THREADS + PROBES)
        trio.run(world.run, Trouble(pair, urls, env, seed, seconds))
        left = pair.rows("select writer, number from journal")
        if left:
            world.log.write("found", "database", f"the journal is not empty: {left[:3]}")
        promises = pair.rows("select id, state, value_data, settled_at from promise")
    codec = Codec()
    decoded = {
        id: Row(state, codec.decode_value(value) if state == "resolved" else None, settled_at)
        for id, state, value, settled_at in promises
    }
    (folder / STORE).write_text(json.dumps(decoded))


def rows(folder: Path) -> dict[str, Row]:
    """Return the promises at the end."""
    return {id: Row(*row) for id, row in json.loads((folder / STORE).read_text()).items()}


def figures(evidence: Evidence) -> dict[str, Any]:
    """Return the figures that concern several brokers."""
    return progress(evidence)


def violations(evidence: Evidence) -> dict[str, list[str]]:
    """Return what must not be, beside what `verdict` knows."""
    left = [f"{event.text}" for event in evidence.world if event.kind == "found"]
    return {
        "standing still": stands(evidence),
        "ended without a fault": ends_without_fault(evidence.world),
        "left at the end": left,
    }
