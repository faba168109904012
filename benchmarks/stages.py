"""The cost of each stage of a call, measured in the pure cores, without sockets and threads.

A broker's core and the cores of two nodes exchange their real frames in this thread: one node runs
a parent that makes no-op calls, the other one is called, 512 calls at a time. The resulting rows
are then written as the product's store writes them. All figures are processor time, which other
work on the machine disturbs little, except for the sync of a journal record, which is waiting.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.cores import BROKER, CALLEE, DISPATCH, PARENT, FanOut, Meter, Steps
from understudy_store.changes import Changes
from understudy_store.engines.journaled.journal_records import encode
from understudy_store.engines.journaled.memtable import Memtable
from understudy_store.engines.sqlite.database import Database
from understudy_store.engines.sqlite.journal import Journal

STORE: Final = "store"

#: The stages, in the order of the tables: place, stage, explanation.
STAGES: Final = (
    (BROKER, "receive", "checks and decodes frames, queues requests"),
    (BROKER, "step", "the state machine, twice: creates and hands out, then fulfills"),
    (BROKER, "committed", "forgets settled promises; encodes replies and pushes"),
    (STORE, "find", "looks up ids that are new to the machine"),
    (STORE, "encode", "encodes commits as records of the journal"),
    (STORE, "memtable", "merges commits into the memtable"),
    (STORE, "file", "writes the memtable to SQLite's file, without a sync"),
    (CALLEE, "decode", "decodes frames of the broker"),
    (CALLEE, "receive", "makes an activation and a routine for each call"),
    (CALLEE, "step", "decodes arguments, calls the function, encodes its result"),
    (CALLEE, "stepped", "turns the result into a request"),
    (CALLEE, "frames", "encodes requests"),
    (CALLEE, "replies", "handles the broker's replies, drops the activation"),
    (PARENT, "step", "the parent's own code: makes calls, takes results"),
    (PARENT, "stepped", "turns calls into requests, 256 in each"),
    (PARENT, "frames", "encodes requests"),
    (PARENT, "decode", "decodes frames of the broker"),
    (PARENT, "replies", "handles the broker's replies to the requests"),
    (PARENT, "receive", "takes the results that have arrived"),
)
#: A part of the step, which includes it.
PART: Final = (BROKER, DISPATCH, "of this, dispatch: chooses a node, starts the lease")
#: Commits whose sync is measured.
SYNCED_COMMITS_MAX: Final = 40

#: µs per call, by place and stage.
Costs = dict[tuple[str, str], float]


def measure(calls: int, best_of: int) -> dict[str, Any]:
    """Measure all stages, each as the best of several runs.

    Returns
    -------
    dict
        ``calls``, ``best_of``; ``stages``: place, stage and ``us`` per call; ``dispatch_us``;
        ``sync``: ``us`` until a record of ``rows_per_commit`` rows is on the disk.
    """
    found: Costs = {}
    steps: Steps = []
    for _ in range(best_of):
        costs, steps = _costs(calls)
        for key, cost in costs.items():
            found[key] = min(cost, found.get(key, cost))
    return {
        "calls": calls,
        "best_of": best_of,
        "stages": [
            {"where": where, "stage": stage, "us": found[where, stage]}
            for where, stage, _ in STAGES
        ],
        "dispatch_us": found[PART[:2]],
        "sync": _sync([changes for _, changes in steps if changes]),
    }


def _costs(calls: int) -> tuple[Costs, Steps]:
    """Return the costs of one run, and the lookups and commits that it made."""
    meter = Meter()
    with _tuned():
        fan_out = FanOut(calls, meter)
        fan_out.begin()
        meter.spent_ns.clear()
        begun = len(fan_out.broker.steps)
        fan_out.run()
        steps = fan_out.broker.steps
        with tempfile.TemporaryDirectory(prefix="understudy-bench-") as folder:
            database = Database(Path(folder) / "stages.db", exists=False)
            database._driver.execute("PRAGMA synchronous=OFF")
            try:
                _write(database, steps[:begun], Meter())
                _write(database, steps[begun:], meter)
            finally:
                database.close()
    return {key: spent / 1000 / calls for key, spent in meter.spent_ns.items()}, steps


def _write(database: Database, steps: Steps, meter: Meter) -> None:
    """Repeat the lookups and commits of each step; write the result to the file once."""
    pending = Memtable()
    for wanted, changes in steps:
        elsewhere = [id_ for id_ in wanted if id_ not in pending.rows]
        if elsewhere:
            with meter(STORE, "find"):
                database.find(elsewhere)
        if changes:
            with meter(STORE, "encode"):
                encode(changes)
            with meter(STORE, "memtable"):
                pending.check(changes)
                pending.add(changes)
    with meter(STORE, "file"):
        database.write(pending, database.number + pending.commits)


def _sync(batches: list[Changes]) -> dict[str, float]:
    """Measure the time until a record of the journal is on the disk.

    Only large records count; the few others are written because later ones need them.
    """
    found: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as folder:
        journal = Journal(Path(folder) / "journal", bytes(8), 0)
        try:
            for changes in batches[:SYNCED_COMMITS_MAX]:
                data = encode(changes)
                if not journal.fits(data):
                    journal.switch()
                began = time.perf_counter()
                journal.append(data)
                us = (time.perf_counter() - began) * 1e6
                found.append((len(changes.inserted) + len(changes.updated), us))
        finally:
            journal.close()
    rows_max = max(rows for rows, _ in found)
    large = [(rows, us) for rows, us in found if 2 * rows > rows_max]
    return {
        "us": statistics.median(us for _, us in large),
        "rows_per_commit": statistics.median(rows for rows, _ in large),
        "commits": len(large),
    }


@contextmanager
def _tuned() -> Iterator[None]:
    """Collect garbage as rarely as a broker and a node do."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
