"""The processor time of calls, thread by thread, on real processes.

The system counts nanoseconds for each thread (``/proc/PID/task/*/schedstat``), and how often it
went to sleep (``.../status``); they are read directly before and after each run, so that the start
of the processes is not in them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.deployment import Deployment, deployed
from benchmarks.harness import Figures
from benchmarks.workloads import chain, fan_out
from understudy import Runtime
from understudy.bench.runner import GROUP
from understudy.bench.workloads import run_id

PROC: Final = Path("/proc")
WARM_UP_CALLS: Final = 2_000
WARM_UP_CHAINS: Final = 50
#: The name of the thread of a node's connection, and the prefix of the names of its workers.
LOOP: Final = "understudy"
WORKER: Final = "understudy-worker"
#: The prefix of the names of ZeroMQ's threads.
ZEROMQ: Final = "ZMQbg"
PATIENCE_S: Final = 60.0
#: Roles in the order of the tables, each with its work.
ROLES: Final = {
    "broker: loop": "sockets, the core, small commits; polls for the next message",
    "broker: store writer": "large commits",
    "broker: store follower": "writes committed rows into SQLite's file",
    "broker: ZeroMQ": "moves bytes between the sockets and the loop",
    "broker: other": "frees frames that were sent without a copy",
    "nodes: loops": "sockets, the cores",
    "nodes: workers": "users' functions, including the parent",
    "nodes: ZeroMQ": "moves bytes between the sockets and the loops",
    "nodes: other": "main threads, which wait for signals",
    "client": "all threads of the client",
}


@dataclass(frozen=True)
class Thread:
    """A thread: its process by name, its role, and the system's number for it."""

    process: str
    role: str
    number: int


#: The threads of a broker, in the order in which they start.
_IN_ORDER: Final = ("broker: loop", "broker: store follower", "broker: store writer")
#: Nanoseconds on a core, nanoseconds waiting for one, and number of sleeps.
Spent = tuple[int, int, int]
#: A workload: takes a client and the number of calls.
Workload = Callable[[Runtime, int], Figures]
_SLEPT: Final = "voluntary_ctxt_switches:"


class Observer:
    """Reads the counters of the threads of some processes.

    Parameters
    ----------
    pids
        Process ids by name: ``broker``, ``node-...``, ``client``.
    names
        Python's names of the threads of nodes, by the system's numbers. (Python tells the system
        these names only since 3.14, and a broker has no function that could be asked for them.)
    """

    def __init__(self, pids: dict[str, int], names: dict[int, str]) -> None:
        self._pids = pids
        self._names = names

    def read(self) -> dict[Thread, Spent]:
        """Return the counters of all current threads."""
        found: dict[Thread, Spent] = {}
        for process, pid in self._pids.items():
            # Numbers rise in the order in which threads start.
            for place, folder in enumerate(sorted(_threads_of(pid), key=_number)):
                name = (folder / "comm").read_text().strip()
                spent, waited = (folder / "schedstat").read_text().split()[:2]
                role = self._role(process, place, _number(folder), name)
                counts = int(spent), int(waited), _slept(folder)
                found[Thread(process, role, _number(folder))] = counts
        return found

    def _role(self, process: str, place: int, number: int, name: str) -> str:
        if process == "client":
            return "client"
        kind = "broker" if process == "broker" else "nodes"
        if name.startswith(ZEROMQ):
            return f"{kind}: ZeroMQ"
        if kind == "broker":
            # The store opens first, so its threads start first.
            return (*_IN_ORDER, "broker: other")[min(place, len(_IN_ORDER))]
        # Workers start when they are needed, so an unknown thread is a worker.
        name = self._names.get(number, WORKER)
        if name == LOOP:
            return "nodes: loops"
        return "nodes: workers" if name.startswith(WORKER) else "nodes: other"


def available() -> bool:
    """Return whether the system counts processor time for each thread."""
    return (PROC / "self" / "schedstat").exists()


def measure(calls: int, rounds: int) -> dict[str, Any]:
    """Measure fan-outs on one deployment, after one that does not count.

    Returns
    -------
    ``calls``, ``runs``, and ``median``: the run whose processor time is in the middle. See `_run`.
    """
    return _measure(fan_out.understudy, calls, WARM_UP_CALLS, rounds)


def measure_chains(chains: int, rounds: int) -> dict[str, Any]:
    """Measure chains of three calls, one after the other; ``calls`` counts chains."""
    return _measure(chain.understudy, chains, WARM_UP_CHAINS, rounds)


def _measure(workload: Workload, calls: int, warm_up: int, rounds: int) -> dict[str, Any]:
    with deployed() as (deployment, client):
        workload(client, min(calls, warm_up))
        observer = _observer(deployment, client)
        runs = [_run(observer, client, workload, calls) for _ in range(rounds)]
    middle = sorted(runs, key=lambda run: float(run["processor_us"]))[len(runs) // 2]
    return {"calls": calls, "runs": runs, "median": middle}


def _observer(deployment: Deployment, client: Runtime) -> Observer:
    pids = {name: process.pid for name, process in deployment.processes.items()}
    names: dict[int, str] = {}
    for name in pids:
        if name != "broker":
            there = client.options(target=f"poll://uni@{GROUP}/{name}")
            names |= there.rpc(run_id("threads"), "threads").result(PATIENCE_S)
    if list(names.values()).count(LOOP) != len(pids) - 1:
        raise RuntimeError(f"not every node has a thread {LOOP!r}: {sorted(names.values())}")
    return Observer({**pids, "client": os.getpid()}, names)


def _run(observer: Observer, client: Runtime, workload: Workload, calls: int) -> dict[str, Any]:
    """Measure one run.

    Returns
    -------
    dict
        Per call, in µs: ``wall_us``, ``processor_us`` of all threads together, and for each of
        ``threads`` (process, role) ``us`` on a core, ``waited_us`` for a core, and the number of
        ``sleeps``. ``cores_used`` is the average number of cores in use.
    """
    before = observer.read()
    began = time.perf_counter()
    workload(client, calls)
    took_us = (time.perf_counter() - began) * 1e6
    after = observer.read()
    threads: list[dict[str, Any]] = []
    for thread, (spent, waited, slept) in after.items():
        spent_before, waited_before, slept_before = before.get(thread, (0, 0, 0))
        threads.append(
            {
                "process": thread.process,
                "role": thread.role,
                "us": (spent - spent_before) / 1000 / calls,
                "waited_us": (waited - waited_before) / 1000 / calls,
                "sleeps": (slept - slept_before) / calls,
            }
        )
    processor_us = sum(thread["us"] for thread in threads)
    wall_us = took_us / calls
    return {
        "wall_us": wall_us,
        "processor_us": processor_us,
        "cores_used": processor_us / wall_us,
        "threads": threads,
    }


def _threads_of(pid: int) -> Iterator[Path]:
    return (PROC / f"{pid}" / "task").iterdir()


def _slept(folder: Path) -> int:
    for line in (folder / "status").read_text().splitlines():
        if line.startswith(_SLEPT):
            return int(line.removeprefix(_SLEPT))
    return 0


def _number(folder: Path) -> int:
    return int(folder.name)
