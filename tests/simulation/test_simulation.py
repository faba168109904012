"""Some hundred seeds of the simulator, and tests that each seed is the same in every play.

``make simulate SEEDS=n`` plays more.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.plan import FAULTS, draw
from tests.simulation.run import Forced, command, play_block, trace_of

REPOSITORY = Path(__file__).parents[2]
SEEDS = 500
BLOCKS = 10


@pytest.mark.parametrize("block", range(BLOCKS))
def test_seeds(block: int) -> None:
    """Whatever fails, the properties hold, all work is done, and each result is correct."""
    outcome = play_block(range(block * SEEDS // BLOCKS, (block + 1) * SEEDS // BLOCKS))
    told = [f"{command(seed)}: {text}" for seed, text in outcome.failures]
    assert not told, "\n".join(told)
    assert outcome.counts["faults"] > 50, "the worlds had too few faults to prove anything"
    assert outcome.counts["performed"] > 200


def test_every_fault_is_drawn() -> None:
    drawn = {kind for seed in range(SEEDS) for kind in draw(seed).faults}
    assert drawn == FAULTS.keys()


def test_deploys_leave_calls_that_need_the_other_release() -> None:
    """Some calls are parked, and end correctly; otherwise these worlds would prove little."""
    seeds = [seed for seed in range(SEEDS) if "deploy" in draw(seed).faults]
    counts = play_block(seeds).counts
    assert counts["deploys"] > 50
    assert counts["parked"] > 5


@pytest.mark.parametrize("brokers", [2, 3])
def test_brokers_that_share_the_slots(brokers: int) -> None:
    """Much happens between them; otherwise these worlds would prove little."""
    forced = Forced(brokers, shared=False)
    outcome = play_block(range(SEEDS, SEEDS + 60), forced)
    told = [f"{command(seed, forced)}: {text}" for seed, text in outcome.failures]
    assert not told, "\n".join(told)
    counts = outcome.counts
    assert counts["worlds of several brokers"] == 60
    assert counts["requests between slots"] > 300
    assert counts["broker crashes"] > 12
    assert counts["partitions"] > 12


def test_some_worlds_have_several_brokers() -> None:
    drawn = {draw(seed).brokers for seed in range(SEEDS)}
    assert drawn == {1, 2, 3, 4}


def test_a_seed_is_the_same_every_time() -> None:
    for seed in range(0, SEEDS, 50):
        assert trace_of(seed) == trace_of(seed)


def test_a_seed_is_the_same_in_every_process() -> None:
    """The order of sets, which differs between processes, has no effect on the trace."""
    code = (
        "import hashlib; from tests.simulation.run import trace_of\n"
        "for seed in range(0, 60, 3): print(hashlib.sha256(trace_of(seed).encode()).hexdigest())"
    )
    digests = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        digests.append(done.stdout.split())
    here = [hashlib.sha256(trace_of(seed).encode()).hexdigest() for seed in range(0, 60, 3)]
    assert digests == [here, here]
