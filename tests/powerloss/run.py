"""Loss of power: many lives of a store, and many images of each; see docs/proof.md.

``python -m tests.powerloss --images 20000 --seed 1`` makes lives from seeds 1, 2, … and opens
`PER_LIFE` images of each, until it has opened the number of images given.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.differential.pair import same
from tests.powerloss.disk import MANNERS, Disk, Manner
from tests.powerloss.events import (
    Acknowledged,
    Begun,
    Event,
    Lost,
    Opened,
    Sync,
    SyncDirectory,
    SyncWrite,
    Truncate,
    Write,
)
from tests.powerloss.script import (
    CONFIG,
    NAME,
    BatchBounds,
    Life,
    State,
    batches_in,
    write_files,
)
from tests.unit.store.answers import committed, found
from tests.unit.store.machine.properties import check_state
from tests.unit.store.samples import row
from understudy_store.changes import Changes
from understudy_store.machine import Machine
from understudy_store.records import is_gone
from understudy_store.store import open_store

#: Images opened of one life.
PER_LIFE = 250
SYNCS = (Sync, SyncWrite, SyncDirectory)


class Point(NamedTuple):
    """A loss of power after `done` events; `manner` and `seed` decide which writes survive."""

    done: int
    manner: Manner
    seed: int


class Checker:
    """Open images and compare their content with the expected one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = iter(range(sys.maxsize))

    def check(self, files: dict[str, bytes], sure: BatchBounds, states: list[State]) -> int:
        """Check that an image opens, has every acknowledged batch, and can be used.

        Returns
        -------
        The number of batches in it.
        """
        folder = self._folder / f"image-{next(self._numbers)}"
        write_files(folder, files)
        url = str(folder / NAME)
        with closing(open_store(url)) as store:
            batches = batches_in(states, store.snapshot)
            assert sure.at_least <= batches <= sure.at_most, (
                f"{batches} batches are there, of {sure.at_least} acknowledged "
                f"and {sure.at_most} begun"
            )
            state = states[batches]
            known = states[-1].rows | state.rows | {NAME: row(NAME)}
            rows = {each.promise.id: each for each in found(store, list(known))}
            same("rows", state.rows, rows)
            machine = Machine(CONFIG)
            machine.restore(store.snapshot, store.snapshot.now)
            kept = {id_: each for id_, each in state.rows.items() if not is_gone(each.promise)}
            check_state(machine, kept)
            # The store must also accept another batch.
            more = Changes(store.snapshot.now + 1, inserted=[row(NAME)])
            assert committed(store, more) == []
        with closing(open_store(url)) as again:
            assert [each.promise.id for each in found(again, [NAME])] == [NAME]
        shutil.rmtree(folder)
        return batches


def points(events: Sequence[Event], count: int, random: Random) -> list[Point]:
    """Draw moments: many are just before something becomes durable, or while a store opens."""
    before_syncs = [n for n, event in enumerate(events) if isinstance(event, SYNCS)]
    opening = _without_commits(events)
    found: list[Point] = []
    for _ in range(count):
        chance = random.random()
        if chance < 0.5:
            at = random.choice(before_syncs)
        elif chance < 0.7:
            at = random.choice(opening)
        else:
            at = random.randrange(len(events) + 1)
        found.append(Point(at, random.choice(MANNERS), random.randrange(2**32)))
    return found


def _without_commits(events: Sequence[Event]) -> list[int]:
    """Return the moments in which a store is opened or closed."""
    found: list[int] = []
    within = True
    for at in range(len(events), 0, -1):
        match events[at - 1]:
            case Opened():
                within = True
            case Begun() | Acknowledged() | Lost():
                within = False
        if within:
            found.append(at)
    return found


class Task(NamedTuple):
    """A life of which to open images."""

    seed: int
    images: int
    folder: Path


class Outcome(NamedTuple):
    """The outcome of some lives: sums, and the failures with their lives."""

    counts: Counter[str]
    failures: list[tuple[Task, str]]


def command(task: Task) -> str:
    """Return the command that repeats a failure."""
    return f"make powerloss IMAGES={task.images} SEED={task.seed}"


def play_one(task: Task) -> Outcome:
    """Play one life and open images of it, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix=f"{task.seed}-", dir=task.folder))
    look = _Examination(folder)
    failures: list[tuple[Task, str]] = []
    try:
        look.live(task.seed)
        look.at_images(points(look.events, task.images, Random(task.seed)))
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        failures.append((task, f"{look.at}: {type(error).__name__} at {where}: {error}"))
    shutil.rmtree(folder)
    return Outcome(look.counts, failures)


class _Examination:
    """A life, and the checks of its images."""

    def __init__(self, folder: Path) -> None:
        self.counts: Counter[str] = Counter()
        self.events: list[Event] = []
        self.at = "while it was recorded"
        self._folder = folder

    def live(self, seed: int) -> None:
        """Record the life."""
        self._life = life = Life(seed, self._folder)
        self.events = events = [event for session in life.sessions for event in session.events]
        self._ends = list(accumulate(len(session.events) for session in life.sessions))
        self.counts.update(
            {"lives": 1, "sessions": len(self._ends), "batches": len(life.maker.changes)}
        )
        self.counts["writes"] += sum(isinstance(each, Write | Truncate) for each in events)
        self.counts["syncs"] += sum(isinstance(each, SYNCS) for each in events)

    def at_images(self, chosen: list[Point]) -> None:
        """Open the image of each of these moments; raise at the first wrong one."""
        life, events = self._life, self.events
        checker = Checker(self._folder)
        disk, sure, done = Disk(life.before), BatchBounds(life.batches_before), 0
        seen: set[tuple[int, int, int]] = set()
        with life.sizes.used():
            for point in sorted(chosen):
                self.at = f"after {point.done} events, {point.manner} of what is not synced"
                for event in events[done : point.done]:
                    disk.apply(event)
                    sure.apply(event)
                done = point.done
                files = disk.image(point.manner, Random(point.seed))
                self.counts["images"] += 1
                mark = (hash(frozenset(files.items())), sure.at_least, sure.at_most)
                if mark in seen:
                    continue
                seen.add(mark)
                self.counts["distinct images"] += 1
                session = next(n for n, end in enumerate(self._ends) if done <= end)
                batches = checker.check(files, sure, life.sessions[session].states)
                self.counts["with an unacknowledged batch"] += batches > sure.at_least


def play_many(
    images: int, seed: int, processes: int, progress: Callable[[Outcome], None] | None = None
) -> Outcome:
    """Play many lives in several processes; `progress` is called with the sum so far."""
    total = Outcome(Counter(), [])
    # The disk is simulated, so the real one need not keep anything.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="understudy-powerloss-", dir=memory) as name:
        starts = range(0, images, PER_LIFE)
        tasks = [
            Task(seed + n, min(PER_LIFE, images - at), Path(name)) for n, at in enumerate(starts)
        ]
        with context.Pool(min(processes, len(tasks))) as pool:
            for part in pool.imap_unordered(play_one, tasks):
                total.counts.update(part.counts)
                total.failures.extend(part.failures)
                if progress is not None:
                    progress(total)
    return total


def report(total: Outcome, took_s: float) -> str:
    """Return the sums as text."""
    counts = total.counts
    lines = [f"images {counts['images']:,} in {took_s:.0f} s, wrong {len(total.failures)}"]
    lines += [f"  {n:>14,}  {name}" for name, n in counts.most_common() if name != "images"]
    for task, text in sorted(total.failures, key=lambda failure: failure[0].seed)[:20]:
        lines += [f"seed {task.seed}, {text[:1000]}", f"  again: {command(task)}"]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.powerloss", description=__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="images to open in all")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first life")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(arguments)
    began = shown = time.monotonic()

    def progress(total: Outcome) -> None:
        nonlocal shown
        now, done = time.monotonic(), total.counts["images"]
        if done and (now - shown >= 5 or done >= given.images):
            shown = now
            left_s = (now - began) / done * (given.images - done)
            text = f"{done:,} of {given.images:,} images, wrong {len(total.failures)}"
            print(f"{text}, {left_s:.0f} s to go", file=sys.stderr, flush=True)

    total = play_many(given.images, given.seed, given.processes, progress)
    print(report(total, time.monotonic() - began))
    return 1 if total.failures else 0
