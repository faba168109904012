"""A crash at every step: each program is played once for each point where a process may stop.

A point is an event of the world: a frame that arrives, a turn of the broker, a write, a step of a
function, a result that comes back. Before it a node, the broker or the caller is killed; the others
continue. The outcome must be that of the program without a crash, and no stored step is performed
again. ``python -m tests.simulation.every_step`` tries all points of all programs, and all pairs of
points of the small ones.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from tests.simulation.plan import Plan, Root
from tests.simulation.programs import Program
from tests.simulation.world import NAMES, World

#: Two nodes of the first group, and one of the second.
NODES: Final = ["g", "g", "h"]
#: Processes that are killed in a world of one broker, and in one of two.
VICTIMS: Final = ("n0", "n1", "n2", "broker", "c3")
VICTIMS_OF_TWO: Final = ("n0", "n1", "n2", *NAMES[:2], "c3")
#: Homes at the broker of the root, and at the other.
BACK: Final = "part-0"
AWAY: Final = "part-1"

_LEAF: Final[Program] = [["leaf", 1, [], ""]]
_PAIR: Final[Program] = [["leaf", 1, [], ""], ["step", 2, [], ""]]

PROGRAMS: Final[dict[str, Program]] = {
    "chain": [["call", 0, [[["call", 0, [[["leaf", 3, [], "h"]]], "h"]]], ""]],
    "fan-out tree": [["tree", 0, [_PAIR, [["tree", 0, [_LEAF, _LEAF], "h"]]], ""]],
    "local steps": [["step", 1, [], ""], ["step", 2, [], ""], ["here", 0, [_PAIR], ""]],
    "sleep": [["step", 1, [], ""], ["sleep", 5, [], ""], ["leaf", 2, [], ""]],
    "promise": [["promise", 1, [], ""], ["step", 2, [], ""]],
    "race": [["race", 1, [], ""], ["cut race", 2, [], "h"], ["step", 3, [], ""]],
    "retries": [["flaky", 2, [], ""], ["flaky step", 2, [], ""], ["broken", 1, [], ""]],
    "detached": [["detached", 0, [_PAIR], ""], ["step", 1, [], ""]],
    "schedule": [["step", 1, [], ""]],
    "recursion": [["fib", 3, [], ""]],
    "deadline": [["late", 1, [], ""], ["step", 1, [], ""]],
    "ahead": [["ahead", 1, [_LEAF, _PAIR], "h"]],
    "async": [["async", 1, [_PAIR], ""]],
    "shared": [["shared", 1, [], ""], ["call", 0, [[["shared", 1, [], ""]]], ""]],
}
#: Programs in a world of two brokers.
BETWEEN: Final[dict[str, Program]] = {
    "call elsewhere": [["call", 0, [_PAIR], "h", AWAY], ["step", 3, [], ""]],
    "promise elsewhere": [["promise", 1, [], "", AWAY], ["step", 2, [], ""]],
    "there and back": [["call", 0, [[["leaf", 1, [], "h", BACK]]], "", AWAY]],
    "tree elsewhere": [["tree", 0, [_LEAF, _PAIR, _LEAF], "h", AWAY]],
    "cut off elsewhere": [["cut off", 1, [], "h", AWAY, [BACK, AWAY]], ["step", 2, [], ""]],
    "race elsewhere": [["race", 1, [], "h", AWAY], ["step", 2, [], ""]],
    "detached elsewhere": [["detached", 0, [_PAIR], "", AWAY], ["step", 1, [], ""]],
    "shared elsewhere": [
        ["shared", 1, [], "", AWAY],
        ["call", 0, [[["shared", 1, [], "", AWAY]]], "", BACK],
    ],
}
ALL: Final = PROGRAMS | BETWEEN
#: Programs for which every pair of points is tried as well.
SMALL: Final = ("local steps", "sleep", "promise", "retries", "detached", "async")

#: The number of an event, and the process that is killed before it.
Stop = tuple[int, str]


def plan_of(name: str, seed: int = 0) -> Plan:
    """Return the plan of a program: nothing fails by itself, and nothing takes time."""
    caller = len(NODES)
    return Plan(
        seed=seed,
        nodes=list(NODES),
        clients=1,
        roots=[Root("r0", ALL[name], [caller], "rpc", "g", 0)],
        brokers=2 if name in BETWEEN else 1,
        schedule=name == "schedule",
        linger_ms=40,
    )


class Ending(NamedTuple):
    """The outcome of a play: the final state of each promise by id, and the runs of each leaf."""

    states: dict[str, str]
    effects: dict[str, int]
    #: The number of events until every result was stored and reported.
    points: int


def play(name: str, stops: Iterable[Stop] = (), seed: int = 0) -> Ending:
    """Play a program with these stops; raise `Violation` if a property does not hold."""
    world = World(plan_of(name, seed), stops=dict(stops))
    world.run()
    states: dict[str, str] = {
        id_: row.promise.state for id_, row in world.rows.items() if not id_.startswith("s.")
    }
    if name == "cut off elsewhere":
        # What is canceled may not have made its own call by then.
        states = {id_: state for id_, state in states.items() if not id_.startswith("part-")}
    if name in ("race", "race elsewhere"):
        # The loser may be canceled, or may have ended before.
        states = dict.fromkeys(states, "")
    return Ending(states, dict(world.effects), world.told_at)


class Tried(NamedTuple):
    """The number of plays with stops, and the failed ones."""

    name: str
    points: int
    plays: int
    repeated: int
    wrong: list[str]


def try_stops(name: str, stops: Iterable[tuple[Stop, ...]], seed: int = 0) -> Tried:
    """Play a program once for each of `stops`, and compare."""
    right = play(name, seed=seed)
    plays = repeated = 0
    wrong: list[str] = []
    for stop in stops:
        plays += 1
        try:
            ending = play(name, stop, seed)
        except Exception as error:
            wrong.append(f"{name} {stop}: {error!r}")
            continue
        if ending.states != right.states:
            wrong.append(f"{name} {stop}: {ending.states} and not {right.states}")
        for id_, count in ending.effects.items():
            # A step that was under way when its process died is performed again, once for each
            # death, and so are its retries.
            if count > right.effects.get(id_, 1) * (1 + len(stop)):
                wrong.append(f"{name} {stop}: {id_} was performed {count} times")
            repeated += count > right.effects.get(id_, 1)
    return Tried(name, right.points, plays, repeated, wrong)


def singles(
    name: str, seed: int = 0, victims: Sequence[str] | None = None
) -> list[tuple[Stop, ...]]:
    """Return each point with each victim."""
    points = play(name, seed=seed).points
    if victims is None:
        victims = VICTIMS_OF_TWO if name in BETWEEN else VICTIMS
    return [((at, victim),) for at in range(1, points + 1) for victim in victims]


def pairs(name: str, first: Stop, victims: Sequence[str], seed: int = 0) -> list[tuple[Stop, ...]]:
    """Return one stop with each later point that a play with this stop has."""
    points = play(name, (first,), seed).points
    return [(first, (at, victim)) for at in range(first[0] + 1, points + 1) for victim in victims]


# All of them -------------------------------------------------------------------------------------


def _try_all(job: tuple[str, Stop | None, int]) -> Tried:
    name, first, seed = job
    if first is None:
        return try_stops(name, singles(name, seed), seed)
    return try_stops(name, pairs(name, first, ("n0", "n1", "broker"), seed), seed)


def _jobs(names: Sequence[str], with_pairs: bool, seeds: int) -> list[tuple[str, Stop | None, int]]:
    jobs: list[tuple[str, Stop | None, int]] = [
        (name, None, seed) for name in names for seed in range(seeds)
    ]
    for name in names if with_pairs else ():
        if name in SMALL:
            points = play(name).points
            jobs += [
                (name, (at, victim), 0)
                for at in range(1, points + 1)
                for victim in ("n0", "n1", "broker")
            ]
    return jobs


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.every_step")
    parser.add_argument("--program", choices=sorted(ALL), help="try this program only")
    parser.add_argument("--no-pairs", action="store_true", help="try single crashes only")
    parser.add_argument("--seeds", type=int, default=1, help="orders of events to try")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(arguments)
    names = [given.program] if given.program else list(ALL)
    jobs = _jobs(names, not given.no_pairs, given.seeds)
    began = time.monotonic()
    sums: dict[tuple[str, str], list[Any]] = {}
    context = multiprocessing.get_context("spawn")
    with context.Pool(given.processes) as pool:
        results: Callable[..., Any] = partial(pool.imap, _try_all, jobs)
        for done, (job, tried) in enumerate(zip(jobs, results(), strict=True), start=1):
            total = sums.setdefault((tried.name, "pairs" if job[1] else "single"), [0, 0, 0, []])
            total[0] = max(total[0], tried.points)
            total[1] += tried.plays
            total[2] += tried.repeated
            total[3] += tried.wrong
            for text in tried.wrong:
                print(text, file=sys.stderr, flush=True)
            if done % 50 == 0:
                seconds = time.monotonic() - began
                print(f"{done} of {len(jobs)} jobs, {seconds:.0f} s", file=sys.stderr, flush=True)
    wrong = [text for total in sums.values() for text in total[3]]
    for (name, kind), (points, plays, repeated, bad) in sums.items():
        print(
            f"{name:14} {kind:6} {points:5} points, {plays:7,} plays with crashes, "
            f"{repeated:6,} steps in flight performed again, {len(bad)} wrong"
        )
    plays = sum(total[1] for total in sums.values())
    print(f"{plays:,} plays in {time.monotonic() - began:.0f} s, {len(wrong)} wrong outcomes")
    print("\n".join(wrong[:20]))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
