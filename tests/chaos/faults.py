"""The faults of a run: which process gets which one, and when; decided by the seed alone."""

from __future__ import annotations

import random
from typing import Final, NamedTuple

#: seconds between two acts of a kind, on average
EVERY_S: Final = {
    "kill node": 0.16,
    "stop node": 2.5,
    "term node": 4.0,
    "kill broker": 7.0,
    "stop broker": 12.0,
    "term broker": 25.0,
    "kill client": 4.0,
    "stop client": 15.0,
    "kill template": 30.0,
}
#: how long something is stopped, in leases: some wake in time, some too late
STOPPED_LEASES: Final = (0.1, 2.5)


class Act(NamedTuple):
    """A fault: at `at_s`, `verb` the `target`-th process of a kind; wake it after `hold_s`.

    Numbers go round: `target` may exceed the number of processes.
    """

    at_s: float
    verb: str
    kind: str
    target: int
    hold_s: float


def plan(seed: int, seconds: float, lease_s: float) -> list[Act]:
    """Return the faults of a run, in order; the same for the same arguments."""
    acts = []
    for name, every_s in EVERY_S.items():
        # of its own, so that a change of one kind leaves the others as they are
        dice = random.Random(f"{seed} {name}")
        verb, kind = name.split()
        at_s = dice.expovariate(1 / every_s)
        while at_s < seconds:
            hold_s = lease_s * dice.uniform(*STOPPED_LEASES) if verb == "stop" else 0.0
            acts.append(Act(at_s, verb, kind, dice.randrange(1000), hold_s))
            at_s += dice.expovariate(1 / every_s)
    return sorted(acts)
