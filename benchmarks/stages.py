"""What each stage of a call costs by itself: the pure cores, without sockets and threads.

A broker's core and the cores of two nodes hand their real frames to one another in this thread: one
node runs a parent that makes no-op calls, the other one is called, 512 calls at a time. The rows
that come of it then go the way that the product's store takes them. Everything is processor time,
so that what else runs on the machine disturbs it little; only for a record of the journal it is
waited.
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

from benchmarks.cores import BROKER, CALLEE, DISPATCH, PARENT, FanOut, Meter, Turns
from understudy_store.changes import Changes
from understudy_store.engines.sqlite.database import Database
from understudy_store.engines.sqlite.journal import Journal
from understudy_store.engines.sqlite.journal_records import encode
from understudy_store.engines.sqlite.memtable import Memtable

STORE: Final = "store"

#: what is measured, in the order of the tables: where, stage, what it is
STAGES: Final = (
    (BROKER, "receive", "frames checked and decoded, requests queued"),
    (BROKER, "step", "the state machine, twice: created and handed out, then fulfilled"),
    (BROKER, "committed", "what is settled is forgotten; answers and messages are encoded"),
    (STORE, "find", "whether ids that are new here are in the store"),
    (STORE, "encode", "commits as records of the journal"),
    (STORE, "pending", "commits joined with those that the file does not have yet"),
    (STORE, "file", "what came of them written to SQLite's file, without a sync"),
    (CALLEE, "decode", "frames of the broker"),
    (CALLEE, "receive", "an activation and a routine for each call"),
    (CALLEE, "step", "arguments decoded, the function called, its result encoded"),
    (CALLEE, "stepped", "the result becomes a request"),
    (CALLEE, "frames", "requests encoded"),
    (CALLEE, "answers", "of the broker, after which the activation goes"),
    (PARENT, "step", "the parent's own code: calls made, results taken"),
    (PARENT, "stepped", "calls become requests, 256 in each"),
    (PARENT, "frames", "requests encoded"),
    (PARENT, "decode", "frames of the broker"),
    (PARENT, "answers", "of the broker, to the requests"),
    (PARENT, "receive", "results that have come"),
)
#: a part of the step, counted in it already
PART: Final = (BROKER, DISPATCH, "of this, handing out: choosing a node, the lease")
#: commits whose sync is measured
SYNCED_COMMITS_MAX: Final = 40

#: µs of a call, by place and stage
Costs = dict[tuple[str, str], float]


def measure(calls: int, best_of: int) -> dict[str, Any]:
    """All stages, each as its best of so many runs.

    Returns
    -------
    ``calls``, ``best_of``; ``stages``: where, stage, ``us`` of a call; ``dispatch_us``;
    ``sync``: ``us`` until a record of ``rows_per_commit`` is on the disk.
    """
    found: Costs = {}
    turns: Turns = []
    for _ in range(best_of):
        costs, turns = _costs(calls)
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
        "sync": _sync([changes for _, changes in turns if changes]),
    }


def _costs(calls: int) -> tuple[Costs, Turns]:
    """Of one run, and what the store was asked in it."""
    meter = Meter()
    with _tuned():
        fan_out = FanOut(calls, meter)
        fan_out.begin()
        meter.spent_ns.clear()
        begun = len(fan_out.broker.turns)
        fan_out.run()
        turns = fan_out.broker.turns
        with tempfile.TemporaryDirectory(prefix="understudy-bench-") as folder:
            database = Database(Path(folder) / "stages.db", exists=False)
            database._driver.execute("PRAGMA synchronous=OFF")
            try:
                _write(database, turns[:begun], Meter())
                _write(database, turns[begun:], meter)
            finally:
                database.close()
    return {key: spent / 1000 / calls for key, spent in meter.spent_ns.items()}, turns


def _write(database: Database, turns: Turns, meter: Meter) -> None:
    """Find and keep what each turn of the broker would, and bring it into the file once."""
    pending = Memtable()
    for wanted, changes in turns:
        elsewhere = [id_ for id_ in wanted if id_ not in pending.rows]
        if elsewhere:
            with meter(STORE, "find"):
                database.find(elsewhere)
        if changes:
            with meter(STORE, "encode"):
                encode(changes)
            with meter(STORE, "pending"):
                pending.check(changes)
                pending.add(changes)
    with meter(STORE, "file"):
        database.write(pending, database.number + pending.commits)


def _sync(batches: list[Changes]) -> dict[str, float]:
    """Until a record of the journal is on the disk.

    Of those that are large; the few others are only made because later ones need them.
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
    """Garbage is looked for as in a broker and a node."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
