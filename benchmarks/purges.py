"""Latency of calls while a broker deletes old ones, and while it does not.

``python -m benchmarks.purges --old 100000 --calls 2000`` prints one line for each of the two. The
old calls are those of a store that is made for it; the broker is a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from understudy import Context, Runtime
from understudy_store.changes import Changes
from understudy_store.records import TAG_TARGET, PromiseRecord, Row, TaskRecord, Value
from understudy_store.store import open_store

_BROKER = """
import sys, time
from understudy_broker.core import retention
from understudy_broker.core.config import BrokerConfig
from understudy_broker.server.embedded import EmbeddedBroker
from understudy_store.records import RetentionRules

retention.FIRST_MS = 3000
rules = RetentionRules(86_400_000, idempotency=0) if sys.argv[2] == "purging" else RetentionRules()
with EmbeddedBroker(sys.argv[1], config=BrokerConfig(retention=rules, busy_poll_us=0)) as broker:
    print(broker.endpoint, flush=True)
    sys.stdin.read()
"""


def make(path: Path, count: int) -> None:
    """Make a store with calls that ended two days ago."""
    store = open_store(str(path))
    at = round(time.time() * 1000) - 2 * 86_400_000
    target = "poll://any@g"
    for start in range(0, count, 5000):
        rows = [
            Row(
                PromiseRecord(
                    f"old-{n:08}",
                    "resolved",
                    Value({"fn": "double"}, b"x" * 100),
                    Value({}, b"y" * 100),
                    {TAG_TARGET: target},
                    at + 10**9,
                    at,
                    at + 1,
                ),
                TaskRecord(f"old-{n:08}", "fulfilled", 1, target),
            )
            for n in range(start, min(count, start + 5000))
        ]
        store.commit_here(Changes(at + 1, inserted=rows), [])
    store.close()


def measure(path: Path, way: str, calls: int) -> tuple[list[float], int]:
    """Make calls one after the other; return their seconds, and how many old ones are left."""
    command = [sys.executable, "-c", _BROKER, f"sqlite:///{path}", way]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as broker:
        assert broker.stdout is not None
        assert broker.stdin is not None
        url = broker.stdout.readline().strip()
        took = []
        with Runtime(group="g", url=url) as runtime:

            @runtime.register
            def double(_ctx: Context, number: int) -> int:
                return 2 * number

            for number in range(200):
                runtime.rpc(f"warm-{number}", double, number).result(timeout=60)
            time.sleep(3.5)
            for number in range(calls):
                began = time.perf_counter()
                runtime.rpc(f"new-{number}", double, number).result(timeout=60)
                took.append(time.perf_counter() - began)
        broker.stdin.close()
    store = open_store(str(path))
    left = len(store.find([f"old-{n:08}" for n in range(100_000)]))
    store.close()
    return sorted(took), left


def main() -> None:
    """Measure both ways."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--old", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=4_000)
    options = parser.parse_args()
    for way in ("idle", "purging", "idle", "purging"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "s.db"
            make(path, options.old)
            took, left = measure(path, way, options.calls)
            p50, p99 = (took[int(len(took) * part)] * 1000 for part in (0.5, 0.99))
            print(f"{way}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, old calls left {left:,}", flush=True)


if __name__ == "__main__":
    main()
