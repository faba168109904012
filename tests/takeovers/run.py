"""Kill, stop and cut off brokers over one PostgreSQL schema; then look for what was lost.

``python -m tests.takeovers --minutes 5 --seed 1``. First, several writers want the store, and one
has it; then brokers share one (`sharing`), half of the time each.

Each of them may be killed, stopped for longer than its lease and woken again, or lose its sessions
at any moment. In the end the store must be one chain with everything that was acknowledged, each
link by the one that was told so. See docs/proof.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final, NamedTuple

from tests.cluster import Cluster, find_programs, rows
from tests.takeovers import writer
from tests.takeovers.sharing import play_sharing
from tests.takeovers.signals import pid_of, send
from understudy_store.engines.postgres import engine
from understudy_store.store import open_store

WRITERS: Final = 3
LEASE_S: Final = 0.3


class Outcome(NamedTuple):
    """The faults, and what was found in the end.

    Attributes
    ----------
    counts
        What was done to writers, and what became of them.
    acknowledged
        Commits that somebody was told of.
    lost
        Those of them that are not in the store, or not by the one that was told.
    broken
        Links that are missing in the chain, or are settled at a wrong time.
    errors
        Ends of writers that no fault explains.
    """

    counts: Counter[str]
    acknowledged: int
    lost: list[str]
    broken: list[str]
    errors: list[str]

    def report(self) -> str:
        """Return all of it as text."""
        done = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
        lines = [
            f"{done}, acknowledged {self.acknowledged:,}",
            f"lost {len(self.lost)}, broken {len(self.broken)}, errors {len(self.errors)}",
        ]
        return "\n".join([*lines, *self.lost[:5], *self.broken[:5], *self.errors[:5]])


class World:
    """The writers of one run, and the faults that they suffer.

    Parameters
    ----------
    folder
        For the logs.
    """

    def __init__(self, cluster: Cluster, url: str, folder: Path, seed: int) -> None:
        self._cluster = cluster
        self._url = url
        self._folder = folder
        self._random = random.Random(seed)
        # A writer that is forked from a program which has imported everything starts at once.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([writer.__name__, engine.__name__])
        self._running: list[ForkServerProcess] = []
        self._stopped: dict[int, float] = {}
        self._started = 0
        self.counts: Counter[str] = Counter()

    def run(self, seconds: float) -> None:
        """Start writers and trouble them for some time, then end all."""
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                self._keep_running()
                time.sleep(self._random.uniform(0.02, 0.5))
                self._wake()
                self._trouble()
        finally:
            for process in self._running:
                process.kill()
                process.join()

    def _keep_running(self) -> None:
        for process in list(self._running):
            if process.exitcode is not None:
                self._running.remove(process)
                self._stopped.pop(pid_of(process), None)
                self.counts["fenced"] += process.exitcode == writer.FENCED
        while len(self._running) < WRITERS:
            self._started += 1
            log = self._folder / f"{self._started}.log"
            process = self._context.Process(target=writer.main, args=(self._url, str(log), LEASE_S))
            process.start()
            self._running.append(process)

    def _wake(self) -> None:
        for pid, until in list(self._stopped.items()):
            if time.monotonic() > until:
                send(pid, signal.SIGCONT)
                del self._stopped[pid]

    def _trouble(self) -> None:
        awake = [each for each in self._running if pid_of(each) not in self._stopped]
        if not awake:
            return
        victim = self._random.choice(awake)
        kind = self._random.choice(["kill", "stop", "cut", "cut"])
        self.counts[kind] += 1
        if kind == "kill":
            victim.kill()
        elif kind == "stop":
            send(pid_of(victim), signal.SIGSTOP)
            self._stopped[pid_of(victim)] = (
                time.monotonic() + self._random.uniform(0.5, 4) * LEASE_S
            )
        else:
            self._cut()

    def _cut(self) -> None:
        query = (
            "select pg_terminate_backend(pid) from (select pid from pg_stat_activity "
            "where application_name like 'understudy/%%' order by random() limit %s) as chosen"
        )
        with self._cluster.admin() as connection:
            connection.execute(query, (self._random.randint(1, 4),))


def play(cluster: Cluster, folder: Path, seed: int, seconds: float) -> Outcome:
    """Play one run, and judge it."""
    url = cluster.new_schema()
    open_store(url).close()
    world = World(cluster, url, folder, seed)
    world.run(seconds)
    return judged(url, folder, world.counts)


def judged(url: str, folder: Path, counts: Counter[str]) -> Outcome:
    """Compare the logs with the store, which the last writer has left as it was."""
    store = open_store(url)
    count = store.snapshot.now
    found = {
        each.promise.id: (each.promise.tags["by"], each.promise.settled_at)
        for each in store.find([f"p.{number}" for number in range(count)])
    }
    store.close()
    lost: list[str] = []
    errors: list[str] = []
    told = 0
    for log in folder.glob("*.log"):
        opened = False
        for line in log.read_text().splitlines():
            if line == "opened":
                opened = True
                counts["takeovers"] += 1
            elif not opened:
                counts["not opened"] += 1
            elif line.isdecimal():
                told += 1
                if f"p.{line}" not in found:
                    lost.append(f"commit {line}, which {log.name} was told of")
            elif not line.startswith("StoreFencedError"):
                errors.append(f"{log.name}: {line}")
    forks = _told_twice(folder)
    expected = {f"p.{n}": n + 1 if n < count - 1 else None for n in range(count)}
    broken = [
        f"{id_}: settled at {found.get(id_)}, not {at}"
        for id_, at in expected.items()
        if id_ not in found or found[id_][1] != at
    ]
    if rows(url, "select count(*) from journal") != [(0,)]:
        broken.append("the journal is not empty")
    return Outcome(counts, told, lost + forks, broken, errors)


def _told_twice(folder: Path) -> list[str]:
    """Return the commits that two writers were told of: a fork."""
    told: Counter[str] = Counter()
    for log in folder.glob("*.log"):
        told.update(line for line in log.read_text().splitlines() if line.isdecimal())
    return [f"commit {number} was acknowledged twice" for number, n in told.items() if n > 1]


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.takeovers", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    programs = find_programs()
    if programs is None:
        raise SystemExit("no PostgreSQL is installed: install the development dependencies")
    cluster = Cluster(programs)
    try:
        cluster.make()
        cluster.start()
        with tempfile.TemporaryDirectory() as name:
            outcome = play(cluster, Path(name), given.seed, given.minutes * 30)
        print(outcome.report(), flush=True)
        with tempfile.TemporaryDirectory() as name:
            sharing = play_sharing(cluster, Path(name), given.seed, given.minutes * 30)
        print(sharing.report())
    finally:
        cluster.remove()
    return 1 if outcome.lost or outcome.broken or outcome.errors or sharing.faults else 0
