"""What each stage of a call costs by itself: the pure cores, without sockets and threads.

A broker's core and the cores of two nodes hand their real frames to one another in this thread: one
node runs a parent that makes no-op calls, the other one is called, 512 calls at a time. The rows
that come of it are then written by the statements of the product. Everything is processor time, so
that what else runs on the machine disturbs it little; only the sync of a commit is waiting.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.cores import BROKER, CALLEE, DISPATCH, PARENT, FanOut, Meter, Turns
from understudy_store.changes import Changes
from understudy_store.engines import statements
from understudy_store.engines.rows import insert_values, update_values
from understudy_store.engines.sqlite import SqliteEngine

STORE: Final = "store"

#: what is measured, in the order of the tables: where, stage, what it is
STAGES: Final = (
    (BROKER, "receive", "frames checked and decoded, requests queued"),
    (BROKER, "lookups", "which promises are needed of the store"),
    (BROKER, "apply", "the state machine, twice: created and handed out, then fulfilled"),
    (BROKER, "take batch", "what has changed, as immutable rows"),
    (BROKER, "committed", "what is settled is forgotten; answers and messages are encoded"),
    (STORE, "find", "whether ids that are new here are in the store"),
    (STORE, "values", "rows made into what the driver takes"),
    (STORE, "insert", "the statement, and its commit without a sync"),
    (STORE, "update", "the same, when the call has ended"),
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
#: a part of `apply`, counted in it already
PART: Final = (BROKER, DISPATCH, "of this, handing out: choosing a node, the lease")
#: commits whose sync is measured
SYNCED_COMMITS_MAX: Final = 40

#: µs of a call, by place and stage
Costs = dict[tuple[str, str], float]


class _Unsynced(SqliteEngine):
    """The engine without the waiting for the disk."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._driver.execute("PRAGMA synchronous=OFF")

    def perform(self, statement: statements.Batched, values: Sequence[tuple[Any, ...]]) -> None:
        """One statement in a transaction of its own."""
        self._driver.execute("BEGIN IMMEDIATE")
        statement.run(self._driver, values)
        self._driver.execute("COMMIT")


def measure(calls: int, best_of: int) -> dict[str, Any]:
    """All stages, each as its best of so many runs.

    Returns
    -------
    ``calls``, ``best_of``; ``stages``: where, stage, ``us`` of a call; ``dispatch_us``;
    ``sync``: ``us`` that a commit waits for the disk, with ``rows_per_commit``.
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
            engine = _Unsynced(Path(folder) / "stages.db")
            try:
                _write(engine, turns[:begun], Meter())
                _write(engine, turns[begun:], meter)
            finally:
                engine.close()
    return {key: spent / 1000 / calls for key, spent in meter.spent_ns.items()}, turns


def _write(engine: _Unsynced, turns: Turns, meter: Meter) -> None:
    """Find and write what each turn of the broker would."""
    for wanted, changes in turns:
        if wanted:
            with meter(STORE, "find"):
                engine.find(wanted, alone=True)
        with meter(STORE, "values"):
            inserted = [insert_values(row) for row in changes.inserted]
            updated = [update_values(row) for row in changes.updated]
        if inserted:
            with meter(STORE, "insert"):
                engine.perform(statements.INSERT_PROMISES, inserted)
        if updated:
            with meter(STORE, "update"):
                engine.perform(statements.UPDATE_PROMISES, updated)


def _sync(batches: Sequence[Changes]) -> dict[str, float]:
    """What a commit takes longer because it is synced: the same ones with and without, in turns.

    Of those that are large; the few others are only made because later ones need them.
    """
    found: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as folder:
        engines = [SqliteEngine(Path(folder) / "synced.db"), _Unsynced(Path(folder) / "not.db")]
        try:
            for changes in batches[:SYNCED_COMMITS_MAX]:
                synced, unsynced = (_commit_us(engine, changes) for engine in engines)
                rows = len(changes.inserted) + len(changes.updated)
                found.append((rows, synced - unsynced))
        finally:
            for engine in engines:
                engine.close()
    rows_max = max(rows for rows, _ in found)
    large = [(rows, us) for rows, us in found if 2 * rows > rows_max]
    return {
        "us": max(0.0, statistics.median(us for _, us in large)),
        "rows_per_commit": statistics.median(rows for rows, _ in large),
        "commits": len(large),
    }


def _commit_us(engine: SqliteEngine, changes: Changes) -> float:
    began = time.perf_counter()
    engine.commit(changes, [])
    return (time.perf_counter() - began) * 1e6


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
