"""Calls from queues: how many a second a source stores, and a group performs.

::

    python -m benchmarks.queues                              # RabbitMQ
    python -m benchmarks.queues rabbitmq redis nats kafka sqs --messages 20000 --rounds 3

Messages wait in the queue. A source is started; the time runs from the first call that is performed
to the last. Queue, source, broker (SQLite, synchronous commits) and nodes are processes of this
machine. The servers are those of the tests, which fetch them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

from understudy import Context, Runtime
from understudy.bench.deployment import Deployment

#: by kind: the server, and the queue on it that the tests use
KINDS: Final = {
    "rabbitmq": ("RabbitServer", "RabbitMQ"),
    "redis": ("RedisServer", "RedisQueue"),
    "nats": ("NatsServer", "NatsQueue"),
    "kafka": ("KafkaServer", "KafkaQueue"),
    "sqs": ("SqsServer", "SqsQueue"),
}
_VARIABLE: Final = "UNDERSTUDY_BENCH_LEDGER"
_PATIENCE_S: Final = 300.0

runtime = Runtime(group="queues")


@runtime.register
def work(ctx: Context, number: int, text: str) -> int:
    """Note that the call was performed: one byte."""
    del ctx, text
    with Path(os.environ[_VARIABLE]).open("ab", buffering=0) as file:
        file.write(b".")
    return number


class Speed(NamedTuple):
    """Calls a second of one run: those stored, and those performed."""

    performed: float
    #: from the start of the source, which imports its library, to the last call
    with_start: float


def measure(kind: str, server: Any, messages: int, nodes: int) -> Speed:
    """Fill a queue, and have it worked off."""
    module = import_module(f"tests.integration.sources.test_{kind}")
    queue = getattr(module, KINDS[kind][1])(server)
    queue.publish([json.dumps([number, "x" * 200]).encode() for number in range(messages)])
    with tempfile.TemporaryDirectory(prefix="understudy-queues-") as folder:
        ledger = Path(folder, "ledger")
        ledger.touch()
        os.environ[_VARIABLE] = str(ledger)
        with Deployment(nodes, app="benchmarks.queues:runtime") as deployment:
            command = ["source", *queue.command, "--call", "queues/work", "--url", deployment.url]
            began_at = time.monotonic()
            source = subprocess.Popen(
                [sys.executable, "-m", "understudy", *command],
                env={**os.environ, **queue.env},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                first_at = _until(lambda: ledger.stat().st_size > 0)
                last_at = _until(lambda: ledger.stat().st_size >= messages)
            finally:
                source.terminate()
                source.wait()
    return Speed(messages / (last_at - first_at), messages / (last_at - began_at))


def _until(condition: Callable[[], bool]) -> float:
    """Return the time at which the condition holds."""
    ends_at = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > ends_at:
            raise TimeoutError(f"not within {_PATIENCE_S:g} s")
        time.sleep(0.005)
    return time.monotonic()


def main() -> None:
    """Measure the kinds that are named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", default=["rabbitmq"], help=", ".join(KINDS))
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if unknown := set(given.kinds) - KINDS.keys():
        parser.error(f"there is no queue {min(unknown)!r}: choose from {', '.join(KINDS)}")
    for kind in given.kinds:
        server = getattr(import_module(f"tests.services.{kind}"), KINDS[kind][0])()
        try:
            server.start()
            runs = [measure(kind, server, given.messages, given.nodes) for _ in range(given.rounds)]
        finally:
            server.remove()
        performed = sorted(run.performed for run in runs)
        print(
            f"{kind:<9} {statistics.median(performed):7,.0f} calls/s performed "
            f"({performed[0]:,.0f} to {performed[-1]:,.0f}), with the start of the source "
            f"{statistics.median(run.with_start for run in runs):,.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
