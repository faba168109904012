"""DBOS: on PostgreSQL a queue that two processes serve, on SQLite everything in one process.

The role is given: ``alone`` (calls and performs), ``client`` (only calls) or ``worker-N``.
"""

from __future__ import annotations

import os
import threading

from dbos import DBOS

from benchmarks.peers.program import chain_of, chains_of, fan_out_of, serve

URL = os.environ["BENCH_URL"]
ROLE = os.environ["BENCH_ROLE"]
#: Seconds between polls: short, because the default of a second would dominate the figures.
POLL_S = 0.05

DBOS(
    config={
        "name": "bench",
        "system_database_url": URL,
        "run_admin_server": False,
        "log_level": "WARNING",
        "executor_id": ROLE,
        "application_version": "1",
    }
)
QUEUE = "bench"


@DBOS.workflow()
def noop(value: int) -> int:
    return value


@DBOS.workflow()
def hop_c() -> int:
    return 1


@DBOS.workflow()
def hop_b() -> int:
    return wait(begin(hop_c)) + 1


@DBOS.workflow()
def hop_a() -> int:
    return wait(begin(hop_b)) + 1


@DBOS.workflow()
def parent(size: int) -> int:
    return sum([wait(handle) for handle in [begin(noop, number) for number in range(size)]])


def begin(function, *args):
    """Run a function by the queue if there are workers, else in this process."""
    if ROLE == "alone":
        return DBOS.start_workflow(function, *args)
    return DBOS.enqueue_workflow(QUEUE, function, *args)


def wait(handle):
    return handle.get_result(polling_interval_sec=POLL_S)


def main() -> None:
    if ROLE == "client":
        DBOS.listen_queues([])
    DBOS.launch()
    if ROLE != "alone":
        DBOS.register_queue(QUEUE, polling_interval_sec=POLL_S)
    if ROLE.startswith("worker"):
        threading.Event().wait()
    serve(
        {
            "ready": lambda _size: {"ready": 1.0},
            "fan_out": fan_out_of(lambda size: wait(begin(parent, size))),
            "chain": chain_of(lambda: wait(begin(hop_a))),
            "chains": chains_of(lambda: begin(hop_a), wait),
        }
    )
    DBOS.destroy()


if __name__ == "__main__":
    main()
