"""Lists of calls, and what the record of calls costs: time and disk, over SQLite.

::

    python -m benchmarks.call_lists --calls 1000000

A store is filled with settled root calls through the engine, the newest ten hours ago at the rate
of 100,000 an hour; one in 100 has failed. Then searches are made, each several times, and the
medians are printed in milliseconds; further, the bytes of the file for each call and for each
attempt of the log, and the processor time of filling. The program judges nothing.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from understudy_store.changes import Changes
from understudy_store.commands import CallSearch, TaskAttempts
from understudy_store.engines.base import SOLE_EPOCH, Read
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.records import (
    FAILED_STATES,
    AttemptRecord,
    PromiseRecord,
    Row,
    TaskRecord,
    Value,
)

HOUR_MS: Final = 3_600_000
CALLS_PER_HOUR: Final = 100_000
ROWS_OF_COMMIT: Final = 2_000
FUNCTIONS: Final = 50
FAILED_EVERY: Final = 100
REPEATS: Final = 7
_TIME_LIMIT_S: Final = 60.0


def call(number: int, now: int, calls: int) -> Row:
    """Return the settled root call of a number; the last one is the newest."""
    created_at = now - (calls - number) * HOUR_MS // CALLS_PER_HOUR
    failed = number % FAILED_EVERY == 0
    id_, group = f"order-{number}", f"group-{number % 5}"
    target = f"poll://any@{group}"
    headers = {"fn": f"function_{number % FUNCTIONS}", "at": "app.py:40", "kind": "rpc"}
    tags = {"understudy:target": target, "customer": f"c{number % 1000}"}
    value = Value({"error": "shop.errors.Declined"} if failed else {}, b"\x05" * 20)
    promise = PromiseRecord(
        id_,
        "rejected" if failed else "resolved",
        Value(headers, b"\x91\x05" * 10),
        value,
        tags,
        now + 24 * HOUR_MS,
        created_at,
        created_at + 20 + number % 2000,
    )
    task = TaskRecord(
        id_,
        "fulfilled",
        1,
        target,
        node=f"node-{number % 8}",
        started_at=created_at + 2,
        acquired_at=created_at + 2,
        queued_at=created_at,
    )
    return Row(promise, task)


def attempts_of(numbers: range, now: int) -> list[AttemptRecord]:
    """Return an attempt for each of some calls."""
    text = "attempt 1 of 4 failed: shop.errors.Declined: the card of this customer was declined"
    return [
        AttemptRecord(
            f"order-{n}",
            1,
            1,
            "raised",
            now,
            "node-3",
            "web-3.example.com",
            now - 40,
            now - 30,
            "shop.errors.Declined",
            text,
        )
        for n in numbers
    ]


def file_bytes(path: Path) -> int:
    return sum(each.stat().st_size for each in (path, Path(f"{path}-wal")) if each.exists())


def fill(path: Path, calls: int, now: int) -> None:
    """Fill a store, and print what that has taken."""
    engine = SqliteEngine(path)
    engine.load()
    empty = file_bytes(path)
    cpu = time.process_time()
    for first in range(0, calls, ROWS_OF_COMMIT):
        rows = [call(n, now, calls) for n in range(first, min(first + ROWS_OF_COMMIT, calls))]
        engine.commit(Changes(now, inserted=rows), [], SOLE_EPOCH)
    engine.close()
    per_call_us = (time.process_time() - cpu) / calls * 1e6
    filled = file_bytes(path)
    print(f"filling: {per_call_us:.1f} us of processor time and ", end="")
    print(f"{(filled - empty) / calls:.0f} bytes for each settled call")
    engine = SqliteEngine(path)
    engine.load()
    count = min(calls, 100_000)
    for first in range(0, count, ROWS_OF_COMMIT):
        numbers = range(first, min(first + ROWS_OF_COMMIT, count))
        engine.commit(Changes(now, attempts=attempts_of(numbers, now)), [], SOLE_EPOCH)
    engine.close()
    print(f"{(file_bytes(path) - filled) / count:.0f} bytes for each attempt in the log")


def searches(now: int) -> Iterator[tuple[str, CallSearch]]:
    """Yield searches with the options of ``understudy calls`` that make them."""
    failed = (FAILED_STATES[0], FAILED_STATES[2])
    hour = now - HOUR_MS
    yield "", CallSearch(counts=True)
    yield "--failed --since 1h", CallSearch(failed, since=hour, counts=True)
    yield "--failed", CallSearch(failed, counts=True)
    yield "--failed --error Declined", CallSearch(failed, error="Declined", counts=True)
    yield "--running", CallSearch(("pending",), counts=True)
    yield "--since 1h", CallSearch(since=hour, counts=True)
    yield "--function function_7", CallSearch(function="function_7", counts=True)
    yield "--function unknown", CallSearch(function="unknown", counts=True)
    yield "--group group-3", CallSearch(group="group-3", counts=True)
    yield (
        "--tag customer=c7 --since 1h",
        CallSearch(tags={"customer": "c7"}, since=hour, counts=True),
    )
    yield "--slow 1s --since 1h", CallSearch(slow_ms=1000, since=hour, counts=True)
    yield "--tag customer=nobody", CallSearch(tags={"customer": "nobody"}, counts=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    asked = parser.parse_args()
    now = int(time.time() * 1000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calls.db"
        fill(path, asked.calls, now)
        engine = SqliteEngine(path)
        engine.load()
        for options, command in searches(now):
            times_ms, found = [], 0
            for _ in range(REPEATS):
                began = time.perf_counter()
                reply = engine.search(Read(command, now), _TIME_LIMIT_S)
                times_ms.append((time.perf_counter() - began) * 1000)
                found = sum((reply.counts or {}).values())
            first, middle = times_ms[0], statistics.median(times_ms)
            print(f"calls {options:32} {first:8.1f} ms first {middle:8.1f} ms  {found:6,} counted")
        began = time.perf_counter()
        engine.search(Read(TaskAttempts("order-77"), now), _TIME_LIMIT_S)
        print(f"attempts of a call {(time.perf_counter() - began) * 1000:.1f} ms")
        engine.close()


if __name__ == "__main__":
    main()
