"""Bytes that a tombstone takes: what is left of a call after it was purged.

``python -m benchmarks.tombstones --store sqlite:///t.db --count 100000`` fills an empty store with
calls that have ended, purges them as a broker does, and prints the bytes of each before and after.
Over PostgreSQL the table is vacuumed before it is measured, once as autovacuum does and once fully.
"""

from __future__ import annotations

import argparse
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

from understudy_store.changes import Changes
from understudy_store.commands import PromisePurge
from understudy_store.engines.base import Engine, Read
from understudy_store.engines.schemes import open_engine
from understudy_store.machine import Machine
from understudy_store.records import (
    TAG_TARGET,
    PromiseRecord,
    RetentionRules,
    Row,
    TaskRecord,
    Value,
)

_KEPT = RetentionRules(idempotency=None)


def fill(engine: Engine, epoch: int, count: int, id_chars: int, payload: int) -> None:
    """Make calls that have ended; their ids come in no order."""
    random, target = Random(1), "poll://any@shop"
    at = round(time.time() * 1000) - 86_400_000
    names = [f"{random.getrandbits(256):064x}"[:id_chars] for _ in range(count)]
    for start in range(0, count, 1000):
        rows = [
            Row(
                PromiseRecord(
                    name,
                    "resolved",
                    Value({"fn": "checkout"}, b"x" * payload),
                    Value({}, b"y" * payload),
                    {TAG_TARGET: target},
                    at + 10**9,
                    at + n,
                    at + n + 1,
                ),
                TaskRecord(name, "fulfilled", 1, target),
            )
            for n, name in enumerate(names[start : start + 1000], start)
        ]
        engine.commit(Changes(at + start, inserted=rows), [], epoch)


def purge(engine: Engine, epoch: int) -> None:
    """Delete all, as a broker does."""
    machine = Machine()
    now = round(time.time() * 1000)
    while True:
        found = engine.search(Read(PromisePurge(now), now), 60.0).ended
        if not found:
            return
        machine.purge("graphs", found, _KEPT, now)
        changes = machine.take()
        engine.commit(changes, [], epoch)
        machine.committed(changes)


def sqlite_bytes(path: Path) -> int:
    """Return the bytes of the file that are in use."""
    with closing(sqlite3.connect(path)) as file:
        [count], [free], [size] = (
            file.execute(f"PRAGMA {name}").fetchone()
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (int(count) - int(free)) * int(size)


def compacted(path: Path) -> int:
    """Return the bytes of the file after it was written anew."""
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("VACUUM")
    return sqlite_bytes(path)


def postgres_bytes(url: str, vacuum: str) -> int:
    """Return the bytes of the table of promises with its indexes, after a vacuum."""
    import psycopg

    from understudy_store.engines.postgres.address import parse

    address = parse(url)
    with psycopg.connect(address.conninfo, autocommit=True) as connection:
        table = f'"{address.schema}".promise'
        connection.execute(f"{vacuum} {table}".encode())
        found = connection.execute("select pg_total_relation_size(%s)", (table,)).fetchone()
        assert found is not None
        return int(found[0])


def main() -> None:
    """Measure one store."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", default="sqlite:///tombstones.db")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--id-chars", type=int, default=16)
    parser.add_argument("--payload", type=int, default=100)
    options = parser.parse_args()
    url: str = options.store
    path = Path(url.removeprefix("sqlite:///"))
    ways: dict[str, Callable[[], int]] = {
        "in use": lambda: sqlite_bytes(path),
        "compacted": lambda: compacted(path),
    }
    if url.startswith("postgresql"):
        ways = {
            "vacuumed": lambda: postgres_bytes(url, "vacuum"),
            "vacuumed fully": lambda: postgres_bytes(url, "vacuum full"),
        }

    def show(when: str, shown: dict[str, Callable[[], int]]) -> None:
        told = ", ".join(
            f"{way} {(measured() - empty) / options.count:.0f}" for way, measured in shown.items()
        )
        print(f"bytes of a call {when}: {told}", flush=True)

    empty = 0
    engine = open_engine(url)
    engine.load()
    engine.close()
    [first, _] = ways
    empty = ways[first]()
    engine = open_engine(url)
    fill(engine, engine.load().epoch, options.count, options.id_chars, options.payload)
    engine.close()
    show("before", {first: ways[first]})
    engine = open_engine(url)
    purge(engine, engine.load().epoch)
    engine.close()
    show("after", ways)


if __name__ == "__main__":
    main()
