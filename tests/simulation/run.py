"""Play seeds: one, or many on all cores, with a report.

``python -m tests.simulation --seeds 1000`` plays seeds 0 to 999. ``--seed 7`` plays only seed 7,
and shows a trace of everything that happens.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.simulation.plan import Plan, described, draw
from tests.simulation.world import World

#: The number of seeds that a process plays before it reports.
BLOCK = 50


class Outcome(NamedTuple):
    """Results of some seeds: sums, and the failures as (seed, text)."""

    seeds: int
    counts: Counter[str]
    failures: list[tuple[int, str]]


class Forced(NamedTuple):
    """What is not as drawn.

    Attributes
    ----------
    brokers
        The number of brokers of each world.
    shared
        Whether they share one database.
    """

    brokers: int | None = None
    shared: bool | None = None

    def plan(self, seed: int) -> Plan:
        """Return the plan of a seed."""
        return draw(seed, self.brokers, shared=self.shared)


AS_DRAWN = Forced()


def command(seed: int, forced: Forced = AS_DRAWN) -> str:
    """Return the command that plays a seed again."""
    words = [] if forced.brokers is None else [f"--brokers {forced.brokers}"]
    if forced.shared is not None:
        words.append("--shared" if forced.shared else "--no-shared")
    return f"make simulate SEED={seed}" + (f" ARGS='{' '.join(words)}'" if words else "")


def trace_of(seed: int, forced: Forced = AS_DRAWN) -> str:
    """Return all events of a seed's world as text, which is the same in every play."""
    world = World(forced.plan(seed), trace=True)
    failure = None
    try:
        world.run()
    except Exception as error:
        failure = error
    assert world.trace is not None
    end = f"violation: {failure}" if failure is not None else "no violation"
    return "\n".join([*world.trace, end]) + "\n"


def play_block(seeds: Sequence[int], forced: Forced = AS_DRAWN) -> Outcome:
    """Play some seeds, one after the other."""
    counts: Counter[str] = Counter()
    failures: list[tuple[int, str]] = []
    for seed in seeds:
        world = World(forced.plan(seed))
        try:
            world.run()
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            failures.append((seed, f"{type(error).__name__} at {where}: {error}"))
        counts.update(world.counts)
        counts["worlds of several brokers"] += len(world.brokers) > 1
        counts["worlds of a shared database"] += world.plan.shared
        counts["events"] += world.events
        counts["transitions"] += world.count.transitions
        counts["promises"] += len(world.rows)
        counts["performed"] += sum(world.effects.values())
        counts["performed again"] += sum(n - 1 for n in world.effects.values())
    return Outcome(len(seeds), counts, failures)


def play_many(
    seeds: Sequence[int],
    processes: int,
    progress: Callable[[Outcome], None] | None = None,
    forced: Forced = AS_DRAWN,
) -> Outcome:
    """Play seeds in several processes; now and then call `progress` with the sum so far."""
    blocks = [seeds[at : at + BLOCK] for at in range(0, len(seeds), BLOCK)]
    total = Outcome(0, Counter(), [])
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        for part in pool.imap_unordered(partial(play_block, forced=forced), blocks):
            total.counts.update(part.counts)
            total = Outcome(
                total.seeds + part.seeds, total.counts, sorted(total.failures + part.failures)
            )
            if progress is not None:
                progress(total)
    return total


def report(total: Outcome, took_s: float, forced: Forced = AS_DRAWN) -> str:
    """Return the sums as text."""
    each_ms = 1000 * took_s / max(1, total.seeds)
    head = f"seeds {total.seeds:,} in {took_s:.0f} s ({each_ms:.1f} ms each), "
    lines = [head + f"violations {len(total.failures)}"]
    shown = dict(sorted(total.counts.items(), key=lambda item: -item[1]))
    lines += [f"  {count:>14,}  {name}" for name, count in shown.items()]
    for seed, text in total.failures[:20]:
        lines.append(failed(seed, text, forced))
    return "\n".join(lines)


def failed(seed: int, text: str, forced: Forced = AS_DRAWN) -> str:
    """Return the failure of a seed, and the command that plays it again."""
    return f"seed {seed}: {text[:400]}\n  again: {command(seed, forced)}"


class _Progress:
    """Print a line on the terminal now and then."""

    def __init__(self, seeds: int, forced: Forced) -> None:
        self._seeds = seeds
        self._forced = forced
        self._began = self._shown = time.monotonic()
        self._failures = 0

    def __call__(self, total: Outcome) -> None:
        now = time.monotonic()
        if len(total.failures) > self._failures:
            self._failures = len(total.failures)
            print(
                *(failed(*each, self._forced) for each in total.failures),
                sep="\n",
                file=sys.stderr,
            )
        if now - self._shown >= 5 or total.seeds == self._seeds:
            self._shown = now
            left_s = (now - self._began) / total.seeds * (self._seeds - total.seeds)
            print(
                f"{total.seeds:,} of {self._seeds:,} seeds, {total.counts['events']:,} events, "
                f"violations {len(total.failures)}, {left_s:.0f} s to go",
                file=sys.stderr,
                flush=True,
            )


def one(seed: int, forced: Forced = AS_DRAWN) -> int:
    """Play one seed and show everything."""
    for name, value in described(forced.plan(seed)).items():
        print(f"{name}: {value}")
    text = trace_of(seed, forced)
    sys.stdout.write(text)
    return 0 if text.endswith("no violation\n") else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="number of seeds to play")
    parser.add_argument("--first", type=int, default=0, help="first seed to play")
    parser.add_argument("--seed", type=int, help="play only this seed, and show its trace")
    parser.add_argument("--brokers", type=int, help="brokers of each world, if not as drawn")
    parser.add_argument(
        "--shared",
        action=argparse.BooleanOptionalAction,
        help="whether brokers share one database, if not as drawn",
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(arguments)
    forced = Forced(given.brokers, given.shared)
    if given.seed is not None:
        return one(given.seed, forced)
    began = time.monotonic()
    seeds = range(given.first, given.first + given.seeds)
    progress = _Progress(given.seeds, forced)
    total = play_many(seeds, given.processes, progress, forced)
    print(report(total, time.monotonic() - began, forced))
    return 1 if total.failures else 0
