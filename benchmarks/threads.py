"""Where the processor time of calls goes, thread by thread, on real processes.

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

from benchmarks.harness import Figures
from benchmarks.ours import Ours, deployed
from benchmarks.workloads import chain, fan_out
from understudy import Runtime
from understudy.bench.runner import GROUP
from understudy.bench.workloads import run_id

PROC: Final = Path("/proc")
WARM_UP_CALLS: Final = 2_000
WARM_UP_CHAINS: Final = 50
#: what a node calls the thread of its connection, and begins the names of its workers with
LOOP: Final = "understudy"
WORKER: Final = "understudy-worker"
#: what ZeroMQ begins the names of its threads with
ZEROMQ: Final = "ZMQbg"
PATIENCE_S: Final = 60.0
#: roles, in the order of the tables, and what each does
ROLES: Final = {
    "broker: loop": "sockets, the core, small commits; looks for what comes next",
    "broker: store writer": "large commits",
    "broker: store follower": "what is committed goes into SQLite's file",
    "broker: ZeroMQ": "bytes between the sockets and the loop",
    "broker: other": "frames that were sent without a copy are given back",
    "nodes: loops": "sockets, the cores",
    "nodes: workers": "users' functions, the parent among them",
    "nodes: ZeroMQ": "bytes between the sockets and the loops",
    "nodes: other": "main threads, which wait for signals",
    "client": "all of its threads",
}


@dataclass(frozen=True)
class Thread:
    """Which one: the process by its name, the thread by its role."""

    process: str
    role: str
    number: int


#: a broker's threads as they begin
_IN_ORDER: Final = ("broker: loop", "broker: store follower", "broker: store writer")
#: nanoseconds on a core, and waiting for one; how often it slept
Spent = tuple[int, int, int]
#: what is measured: a client, and how many
Workload = Callable[[Runtime, int], Figures]
_SLEPT: Final = "voluntary_ctxt_switches:"


class Observer:
    """Reads the counters of the threads of some processes.

    Parameters
    ----------
    pids
        By the name of the process: ``broker``, ``node-...``, ``client``.
    names
        Threads of nodes by the system's number, as Python calls them. (It tells the system only
        since 3.14, and there is nothing in a broker that could be asked.)
    """

    def __init__(self, pids: dict[str, int], names: dict[int, str]) -> None:
        self._pids = pids
        self._names = names

    def read(self) -> dict[Thread, Spent]:
        """All threads that there are now."""
        found: dict[Thread, Spent] = {}
        for process, pid in self._pids.items():
            # as they were begun
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
            # the store is opened before all else
            return (*_IN_ORDER, "broker: other")[min(place, len(_IN_ORDER))]
        # workers begin when they are needed: those that are not known yet are such
        name = self._names.get(number, WORKER)
        if name == LOOP:
            return "nodes: loops"
        return "nodes: workers" if name.startswith(WORKER) else "nodes: other"


def available() -> bool:
    """Whether the system counts for each thread."""
    return (PROC / "self" / "schedstat").exists()


def measure(calls: int, rounds: int) -> dict[str, Any]:
    """So many fan-outs on one deployment, after one that is not counted.

    Returns
    -------
    ``calls``, ``runs``, and ``median``: the run whose processor time is in the middle. See `_run`.
    """
    return _measure(fan_out.understudy, calls, WARM_UP_CALLS, rounds)


def measure_chains(chains: int, rounds: int) -> dict[str, Any]:
    """The same for chains of three calls, one after the other; ``calls`` are chains."""
    return _measure(chain.understudy, chains, WARM_UP_CHAINS, rounds)


def _measure(workload: Workload, calls: int, warm_up: int, rounds: int) -> dict[str, Any]:
    with deployed() as (ours, client):
        workload(client, min(calls, warm_up))
        observer = _observer(ours, client)
        runs = [_run(observer, client, workload, calls) for _ in range(rounds)]
    middle = sorted(runs, key=lambda run: float(run["processor_us"]))[len(runs) // 2]
    return {"calls": calls, "runs": runs, "median": middle}


def _observer(ours: Ours, client: Runtime) -> Observer:
    pids = {name: process.pid for name, process in ours.processes.items()}
    names: dict[int, str] = {}
    for name in pids:
        if name != "broker":
            there = client.options(target=f"poll://uni@{GROUP}/{name}")
            names |= there.rpc(run_id("threads"), "threads").result(PATIENCE_S)
    if list(names.values()).count(LOOP) != len(pids) - 1:
        raise RuntimeError(f"not every node has a thread {LOOP!r}: {sorted(names.values())}")
    return Observer({**pids, "client": os.getpid()}, names)


def _run(observer: Observer, client: Runtime, workload: Workload, calls: int) -> dict[str, Any]:
    """One run.

    Returns
    -------
    Of a call, in µs: ``wall_us``, ``processor_us`` of all threads together, and for each of
    ``threads`` (process, role) ``us`` on a core, ``waited_us`` for one, and how often it slept,
    ``sleeps``. ``cores_used``: how many were, on the average.
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
