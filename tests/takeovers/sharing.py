"""Brokers that share one PostgreSQL schema: kill, stop and cut them, let them join and leave.

In the end each slot must be one chain with everything that was acknowledged, no link may have been
acknowledged twice, and no answer from fresh memory may have been out of date. And from time to time
the trouble ends: then each slot must take writes again within a lease and some. A store in which
nothing moves any more loses nothing either.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter, defaultdict
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final, NamedTuple

from tests.cluster import Cluster, rows
from tests.support import eventually
from tests.takeovers import sharer
from tests.takeovers.signals import pid_of, send
from understudy_store.engines.base import Opening, Share
from understudy_store.engines.postgres import shared_engine
from understudy_store.engines.postgres.shared_engine import SharedPostgresEngine
from understudy_store.slots import SLOTS, slot_of

BROKERS_MIN: Final = 3
BROKERS_MAX: Final = 6
LEASE_S: Final = 0.4
#: from the end of the trouble until every slot has taken a write
PROGRESS_S: Final = LEASE_S + 2.0
#: what shows soonest that there is no fence
_STOPS: Final = ["stop", "stop", "stop", "join"]
#: trouble between two checks of that
EPISODE_S: Final = 8.0


class Outcome(NamedTuple):
    """The faults, and what was found in the end.

    Attributes
    ----------
    counts
        What was done to brokers, and what became of them.
    acknowledged
        Writes to slots that somebody was told of.
    lost
        Those of them that are not in the store, or not by the one that was told.
    forks
        Links that two were told of.
    stale
        Answers from fresh memory that were out of date.
    broken
        Links that are missing in a chain, or are settled at a wrong time.
    standing
        Checks in which slots took no write in time.
    progress_s
        How long it took in each check.
    errors
        Ends of brokers that no fault explains.
    """

    counts: Counter[str]
    acknowledged: int
    lost: list[str]
    forks: list[str]
    stale: list[str]
    broken: list[str]
    standing: list[str]
    progress_s: list[float]
    errors: list[str]

    @property
    def faults(self) -> list[str]:
        """Everything that must not be."""
        found = (self.lost, self.forks, self.stale, self.broken, self.standing, self.errors)
        return [text for each in found for text in each]

    def report(self) -> str:
        """Return all of it as text."""
        done = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
        slowest = max(self.progress_s, default=0.0)
        lines = [
            f"shared: {done}, acknowledged {self.acknowledged:,}",
            f"{len(self.progress_s)} checks: every slot wrote again after {slowest:.1f} s at most",
            ", ".join(
                f"{name} {len(getattr(self, name))}"
                for name in ("lost", "forks", "stale", "broken", "standing", "errors")
            ),
        ]
        return "\n".join([*lines, *self.faults[:20]])


class Told(NamedTuple):
    """The logs of all brokers together.

    Attributes
    ----------
    commits
        Slot and number, then when and by which log it was acknowledged.
    reads
        When, which slot, which number was the last, and by which log.
    """

    commits: dict[tuple[int, int], list[tuple[float, str]]]
    reads: list[tuple[float, int, int, str]]
    handed_over: int
    opened: int
    left: int
    errors: list[str]


def told_in(folder: Path) -> Told:
    """Read the logs."""
    commits: dict[tuple[int, int], list[tuple[float, str]]] = defaultdict(list)
    reads: list[tuple[float, int, int, str]] = []
    handed_over = opened = left = 0
    errors: list[str] = []
    for log in folder.glob("*.log"):
        text = log.read_text()
        # The last line may have been cut short.
        for line in text[: text.rfind("\n") + 1].splitlines():
            kind, *rest = line.split(" ")
            if kind == "c":
                for pair in rest[1:]:
                    slot, _, number = pair.partition(":")
                    commits[int(slot), int(number)].append((float(rest[0]), log.name))
            elif kind == "r":
                slot, _, number = rest[1].partition(":")
                reads.append((float(rest[0]), int(slot), int(number), log.name))
            elif kind == "h":
                handed_over += int(rest[0])
            elif kind == "opened":
                opened += 1
            elif kind == "left":
                left += 1
            elif not line.startswith("StoreFencedError"):
                errors.append(f"{log.name}: {line}")
    return Told(commits, reads, handed_over, opened, left, errors)


def forks_in(told: Told) -> list[str]:
    """Return the commits that two brokers were told of."""
    return [
        f"commit {number} of slot {slot} was acknowledged to {', '.join(log for _, log in acks)}"
        for (slot, number), acks in told.commits.items()
        if len(acks) > 1
    ]


class SharingWorld:
    """The brokers of one run, and the faults that they suffer.

    Parameters
    ----------
    folder
        For the logs.
    fenced
        False: the brokers write whatever others have done.
    """

    def __init__(
        self, cluster: Cluster, url: str, folder: Path, seed: int, *, fenced: bool = True
    ) -> None:
        self._cluster = cluster
        self._url = url
        self._folder = folder
        self._fenced = fenced
        self._random = random.Random(seed)
        # A broker that is forked from a program which has imported everything starts at once.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([sharer.__name__, shared_engine.__name__])
        self._running: dict[str, ForkServerProcess] = {}
        self._stopped: dict[int, float] = {}
        #: told to leave
        self._leaving: set[int] = set()
        self._old_names: list[str] = []
        self._started = 0
        self.counts: Counter[str] = Counter()
        self.standing: list[str] = []
        self.progress_s: list[float] = []

    def run(self, seconds: float) -> None:
        """Start brokers and trouble them for some time, or until there are forks; then end all."""
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                self._episode(min(EPISODE_S, until - time.monotonic()))
                if self._fenced:
                    self._check_progress()
                elif forks_in(told_in(self._folder)):
                    return
        finally:
            for process in self._running.values():
                process.kill()
                process.join()

    def _episode(self, seconds: float) -> None:
        self._keep_running()
        eventually(self._one_has_opened, 20.0)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._keep_running()
            time.sleep(self._random.uniform(0.02, 0.5))
            self._wake()
            self._trouble()

    def _keep_running(self) -> None:
        for name, process in list(self._running.items()):
            if process.exitcode is not None:
                del self._running[name]
                self._old_names.append(name)
                self._stopped.pop(pid_of(process), None)
                self.counts["fenced"] += process.exitcode == sharer.FENCED
        while len(self._running) < BROKERS_MIN:
            self._start()

    def _awake(self) -> list[ForkServerProcess]:
        """Return the brokers that are to work."""
        return [
            each
            for each in self._running.values()
            if each.exitcode is None and pid_of(each) not in {*self._stopped, *self._leaving}
        ]

    def _start(self) -> None:
        self._started += 1
        again = self._old_names and self._random.random() < 0.5
        name = self._random.choice(self._old_names) if again else f"n{self._started}"
        self._old_names = [old for old in self._old_names if old != name][-4:]
        process = self._context.Process(
            target=sharer.main,
            args=(self._url, str(self._folder / f"{self._started}.log"), name, LEASE_S),
            kwargs={"fenced": self._fenced},
        )
        process.start()
        self._running[name] = process
        self.counts["started"] += 1

    def _wake(self) -> None:
        for pid, until in list(self._stopped.items()):
            if time.monotonic() > until:
                send(pid, signal.SIGCONT)
                del self._stopped[pid]

    def _trouble(self) -> None:
        awake = self._awake()
        kinds = ["kill", "stop", "cut", "cut", "leave", "join"] if self._fenced else _STOPS
        kind = self._random.choice(kinds)
        if kind == "join" and len(self._running) < BROKERS_MAX:
            self._start()
        elif not awake or kind == "join":
            return
        elif kind == "cut":
            self._cut()
        else:
            pid = pid_of(self._random.choice(awake))
            if kind == "stop":
                send(pid, signal.SIGSTOP)
                self._stopped[pid] = time.monotonic() + self._random.uniform(0.5, 4) * LEASE_S
            elif kind == "kill":
                send(pid, signal.SIGKILL)
            else:
                send(pid, signal.SIGTERM)
                self._leaving.add(pid)
        self.counts[kind] += 1

    def _cut(self) -> None:
        query = (
            "select pg_terminate_backend(pid) from (select pid from pg_stat_activity "
            "where application_name like 'understudy/%%' order by random() limit %s) as chosen"
        )
        with self._cluster.admin() as connection:
            connection.execute(query, (self._random.randint(1, 4),))

    def _check_progress(self) -> None:
        """End the trouble, but for brokers that are stopped, and see that every slot is written."""
        self._keep_running()
        while len(self._awake()) < 2:
            self._start()
        # Somebody has begun; it is about those that are there.
        eventually(self._one_has_opened, 20.0)
        began = time.monotonic()
        waiting = set(range(SLOTS))
        while waiting and time.monotonic() - began < 10 * PROGRESS_S:
            time.sleep(0.1)
            waiting = set(range(SLOTS)) - self._written_since(began)
        took = time.monotonic() - began
        self.progress_s.append(took)
        if took > PROGRESS_S:
            where = rows(self._url, "select writer, count(*) from slot group by 1 order by 1")
            self.standing.append(
                f"after {took:.1f} s {len(waiting)} slots had no write; owners were {where}, "
                f"{len(self._awake())} brokers ran, {len(self._stopped)} were stopped, "
                f"and the load was {os.getloadavg()[0]:.1f}"
            )

    def _one_has_opened(self) -> bool:
        """Return whether one of those that are to work has opened the store."""
        awake = {name for name, each in self._running.items() if each in self._awake()}
        joined = rows(self._url, "select name from writer where joined and not fenced")
        return any(name in awake for (name,) in joined)

    def _written_since(self, began: float) -> set[int]:
        written: set[int] = set()
        for log in self._folder.glob("*.log"):
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - 200_000))
                for line in file.read().decode().splitlines()[1:]:
                    kind, *rest = line.split(" ")
                    if kind == "c" and len(rest) > 1 and float(rest[0]) > began:
                        written.update(int(pair.partition(":")[0]) for pair in rest[1:])
        return written


def play_sharing(
    cluster: Cluster, folder: Path, seed: int, seconds: float, *, fenced: bool = True
) -> Outcome:
    """Play one run, and judge it. Works with another lease in this process from then on."""
    url = cluster.new_schema()
    sharer.settle_in(LEASE_S)
    SharedPostgresEngine(url, Opening(share=Share("first", "tcp://first:1"))).close()
    world = SharingWorld(cluster, url, folder, seed, fenced=fenced)
    world.run(seconds)
    told = told_in(folder)
    lost, broken = _compared(url, told) if fenced else ([], [])
    counts = world.counts
    counts["opened"], counts["left"] = told.opened, told.left
    counts["handed over"] = told.handed_over
    counts["reads"] = len(told.reads)
    with cluster.admin() as connection:
        query = "select deadlocks from pg_stat_database where datname = 'postgres'"
        [counts["deadlocks"]] = connection.execute(query).fetchone() or (0,)
    taken = "select count(*) from writer where joined and fenced"
    # The first one, and those that left, resigned.
    counts["takeovers"] = rows(url, taken)[0][0] - told.left - 1
    return Outcome(
        counts,
        sum(map(len, told.commits.values())),
        lost,
        forks_in(told),
        _stale(told),
        broken,
        world.standing,
        world.progress_s,
        told.errors if fenced else [],
    )


def _stale(told: Told) -> list[str]:
    """Return answers from memory that another broker had made untrue before."""
    stale: list[str] = []
    for read_at, slot, number, log in told.reads:
        for acknowledged_at, by in told.commits.get((slot, number + 1), ()):
            if by != log and acknowledged_at < read_at:
                stale.append(f"{log} read {number} of slot {slot}, but {by} had written more")
    return stale


def _compared(url: str, told: Told) -> tuple[list[str], list[str]]:
    """Return what is lost and what is broken, once another broker has taken all over."""
    engine = SharedPostgresEngine(url, Opening(share=Share("judge", "tcp://judge:1")))
    eventually(lambda: len(engine.holdings().of(engine.writer)) == SLOTS, 20.0)
    counts = dict.fromkeys(range(SLOTS), 0)
    broken: list[str] = []
    for pending in engine.load_slots(range(SLOTS)).live:
        slot = slot_of(pending.id)
        if counts[slot]:
            broken.append(f"slot {slot} has two ends")
        counts[slot] = sharer.number_of(pending.row()) + 1
    by: dict[tuple[int, int], str] = {}
    for slot, count in counts.items():
        found = {
            sharer.number_of(each): each.promise
            for each in engine.find([f"{sharer.HOMES[slot]}.{n}" for n in range(count)])
        }
        for number in range(count):
            promise = found.get(number)
            expected = number + 1 if number < count - 1 else None
            if promise is None or promise.settled_at != expected:
                broken.append(f"link {number} of slot {slot} is missing or settled otherwise")
            else:
                by[slot, number] = promise.tags["by"]
    lost = [
        f"commit {number} of slot {slot}, which {log} was told of"
        for (slot, number), acks in told.commits.items()
        for _, log in acks
        if by.get((slot, number)) != log
    ]
    if rows(url, "select count(*) from journal") != [(0,)]:
        broken.append("the journal is not empty")
    engine.close()
    return lost, broken
