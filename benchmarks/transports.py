"""Calls through queues: how many a second go from a client over a queue to nodes, and back.

::

    python -m benchmarks.transports                           # RabbitMQ
    python -m benchmarks.transports rabbitmq redis nats --calls 5000 --rounds 5

A client makes calls whose target is a queue, as many at a time as `map` does, and waits for all
results. Client, broker (SQLite, synchronous commits), connector, queue and nodes are processes of
this machine. The servers are those of the tests, which fetch them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from importlib import import_module
from typing import Any, Final

from understudy import Context, Runtime
from understudy.bench.deployment import Deployment
from understudy.runtime import TASK_SOURCE_VARIABLE

#: by kind: the server, and the queue on it that the tests use
KINDS: Final = {
    "rabbitmq": ("RabbitServer", "RabbitMQ"),
    "redis": ("RedisServer", "RedisQueue"),
    "nats": ("NatsServer", "NatsQueue"),
}
_PATIENCE_S: Final = 120.0

runtime = Runtime(group="transports")


@runtime.register
def work(ctx: Context, number: int) -> int:
    """Return the number."""
    del ctx
    return number


def measure(kind: str, server: Any, calls: int, nodes: int, rounds: int) -> list[float]:
    """Return the calls a second of each round; one before them is not counted."""
    module = import_module(f"tests.integration.connectors.test_{kind}")
    queue = getattr(module, KINDS[kind][1])(server)
    os.environ[TASK_SOURCE_VARIABLE] = queue.source_url
    with Deployment(nodes, app="benchmarks.transports:runtime") as deployment:
        connector = subprocess.Popen(
            [
                *(sys.executable, "-m", "understudy", "connector"),
                *("--queue", queue.name, "--url", deployment.url),
            ],
            env={**os.environ, "UNDERSTUDY_CONNECTOR_SERVER": queue.server_url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        client = Runtime("client", url=deployment.url, task_source="")
        target = client.options(target=queue.target)
        speeds = []
        try:
            for turn in range(rounds + 1):
                began_at = time.monotonic()
                handles = target.map(f"{kind}-{turn}", "work", range(calls))
                for handle in handles:
                    handle.result(timeout=_PATIENCE_S)
                speeds.append(calls / (time.monotonic() - began_at))
        finally:
            client.stop()
            connector.terminate()
            connector.wait()
    return speeds[1:]


def main() -> None:
    """Measure the kinds that are named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", default=["rabbitmq"], help=", ".join(KINDS))
    parser.add_argument("--calls", type=int, default=5_000)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if unknown := set(given.kinds) - KINDS.keys():
        parser.error(f"there is no queue {min(unknown)!r}: choose from {', '.join(KINDS)}")
    for kind in given.kinds:
        server = getattr(import_module(f"tests.services.{kind}"), KINDS[kind][0])()
        try:
            server.start()
            speeds = sorted(measure(kind, server, given.calls, given.nodes, given.rounds))
        finally:
            server.remove()
        print(
            f"{kind:<9} {statistics.median(speeds):7,.0f} calls/s "
            f"({speeds[0]:,.0f} to {speeds[-1]:,.0f}), load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
