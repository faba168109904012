"""The faults of a run, each with its process and time; the seed alone decides."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

#: Mean seconds between two faults of a kind.
EVERY_S: Final = {
    "kill node": 0.16,
    "stop node": 2.5,
    "term node": 4.0,
    "kill broker": 7.0,
    "stop broker": 12.0,
    "term broker": 25.0,
    "kill client": 4.0,
    "stop client": 15.0,
    "kill fork-server": 30.0,
}
#: The shortest and the longest stop, in leases: some processes wake in time, others too late.
STOPPED_LEASES: Final = (0.1, 2.5)


class Act(NamedTuple):
    """A fault: at `at_s`, `verb` the `target`-th process of a kind; wake it after `hold_s`.

    `target` may exceed the number of processes; it counts modulo that number.
    """

    at_s: float
    verb: str
    kind: str
    target: int
    hold_s: float


def plan(
    seed: int,
    seconds: float,
    every_s: Mapping[str, float],
    stop_s: Callable[[random.Random], float],
) -> list[Act]:
    """Return the faults of a run, in order; the same for the same arguments.

    Parameters
    ----------
    every_s
        Mean seconds between two faults of each kind.
    stop_s
        Draws how long a stopped process sleeps.
    """
    acts = []
    for name, mean_s in every_s.items():
        # Each kind has a random sequence of its own, so that a change of one kind leaves the
        # others as they are.
        dice = random.Random(f"{seed} {name}")
        verb, kind = name.split()
        at_s = dice.expovariate(1 / mean_s)
        while at_s < seconds:
            hold_s = stop_s(dice) if verb == "stop" else 0.0
            acts.append(Act(at_s, verb, kind, dice.randrange(1000), hold_s))
            at_s += dice.expovariate(1 / mean_s)
    return sorted(acts)
