"""Restart times: after the death of a node, until its task is retried and until it is back.

::

    python -m benchmarks.restarts --kills 50 --nodes 1          # the killed node comes back itself
    python -m benchmarks.restarts --kills 50 --nodes 2          # another one takes over
    python -m benchmarks.restarts --kills 50 --nodes 1 --exec   # without fork servers

One call runs at a time. Its function records that it begins, and waits. The node that runs it is
killed, and the time to the next attempt is measured. Broker, store (SQLite, synchronous commits)
and pool are those of `understudy up`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from understudy import Context, Runtime
from understudy.bench.deployment import free_port
from understudy_actors.processes import Pool, RestartPolicy, open_pool
from understudy_actors.processes.topology import BrokerEntry, GroupEntry, Topology, processes

GROUP = "restarts"
#: Seconds that anything may take.
PATIENCE_S = 30.0
#: Nodes are killed on purpose, so the pool must never give up.
POLICY = RestartPolicy(max_s=0.01, max_restarts=1_000_000)

T = TypeVar("T")

runtime = Runtime(group=GROUP)


@runtime.register
def attempt(_: Context, path: str) -> None:
    """Wait to be killed in the first attempt, return in the second."""
    with Path(path).open("a+") as file:
        file.write(f"{os.getpid()} {time.monotonic()}\n")
        file.flush()
        file.seek(0)
        first = len(file.readlines()) == 1
    if first:
        time.sleep(PATIENCE_S)


def measure(
    url: str, folder: Path, nodes: int, kills: int, began_at: float
) -> dict[str, list[float]]:
    """Return the milliseconds from the start, and from each kill to next attempt and full group."""
    again: list[float] = []
    full: list[float] = []
    with Runtime(group="restarts-client", url=url, connect_timeout=PATIENCE_S) as client:
        until(lambda: len(pids(client)) == nodes)
        start = [1000 * (time.monotonic() - began_at)]
        for number in range(kills):
            until(lambda: len(pids(client)) == nodes)
            path = folder / f"attempts-{number}"
            handle = client.options(target=GROUP).rpc(f"{number}", "attempt", str(path))
            pid, _ = until(partial(attempts, path, 1))[0]
            killed_at = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            _, began_at = until(partial(attempts, path, 2))[1]
            until(partial(there_without, client, nodes, pid))
            full.append(1000 * (time.monotonic() - killed_at))
            again.append(1000 * (began_at - killed_at))
            handle.result(PATIENCE_S)
    return {
        "start to all nodes ready": start,
        "kill to next attempt": again,
        "kill to all nodes back": full,
    }


def attempts(path: Path, count: int) -> list[tuple[int, float]]:
    """Return process id and time of each attempt, once there are `count`; before, nothing."""
    lines = path.read_text().splitlines() if path.exists() else []
    if len(lines) < count:
        return []
    return [(int(pid), float(at)) for pid, at in (line.split() for line in lines)]


def pids(client: Runtime) -> set[int]:
    """Return the process ids of the nodes that are ready for work."""
    groups = [group for group in client.groups().groups if group.name == GROUP]
    return {node.os_pid for group in groups for node in group.nodes if node.credit or node.held}


def there_without(client: Runtime, nodes: int, pid: int) -> bool:
    """Return whether all nodes are ready for work, without the process `pid`."""
    now = pids(client)
    return len(now) == nodes and pid not in now


def until(condition: Callable[[], T]) -> T:
    """Poll every two milliseconds until `condition` is true; return its value."""
    ends_at = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        if time.monotonic() > ends_at:
            raise TimeoutError(f"not within {PATIENCE_S} s")
        time.sleep(0.002)
    return value


def memory_kib(pool: Pool) -> dict[str, float]:
    """Return the mean resident and private memory of a node."""
    found: dict[str, list[int]] = {"Rss": [], "Private": []}
    for process in pool.statistics().processes:
        if process.name.startswith(GROUP):
            rows = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
            kib = {name: int(rest.split()[0]) for name, rest in (row.split(":") for row in rows)}
            found["Rss"].append(kib["Rss"])
            found["Private"].append(kib["Private_Clean"] + kib["Private_Dirty"])
    return {name: statistics.mean(values) for name, values in found.items()}


def _discard(_name: str, _line: str) -> None:
    return None


async def main(nodes: int, kills: int, fork: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="understudy-restarts-") as name:
        folder = Path(name)
        url = f"tcp://127.0.0.1:{free_port()}"
        topology = Topology(
            folder=Path.cwd(),
            brokers=(BrokerEntry(listen=url, store=f"sqlite:///{folder}/calls.db"),),
            url=url,
            groups=(GroupEntry(name=GROUP, app="benchmarks.restarts:runtime", nodes=nodes),),
        )
        specs = [
            dataclasses.replace(spec, restart=POLICY, forks=spec.forks and fork)
            for spec in processes(topology)
        ]
        async with open_pool(on_line=_discard) as pool:
            began_at = time.monotonic()
            broker, *nodes_of_it = specs
            await pool.start(broker)
            await pool.prepare(nodes_of_it)
            for spec in nodes_of_it:
                await pool.start(spec)
            figures = await trio.to_thread.run_sync(measure, url, folder, nodes, kills, began_at)
            memory = memory_kib(pool) if sys.platform == "linux" else {}
    print(f"{kills} kills, {nodes} node(s), {'forked' if fork else 'started'}")
    for what, values in figures.items():
        values.sort()
        p99 = values[min(len(values) - 1, int(0.99 * len(values)))]
        print(f"  {what:<24} p50 {statistics.median(values):7.1f} ms  p99 {p99:7.1f} ms")
    for what, kib in memory.items():
        print(f"  {what + ' of a node':<24} {kib / 1024:6.1f} MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--kills", type=int, default=50, help="kills of a node [default: %(default)s]"
    )
    parser.add_argument("--nodes", type=int, default=1, help="nodes [default: %(default)s]")
    parser.add_argument("--exec", action="store_true", help="start nodes without fork servers")
    options = parser.parse_args()
    trio.run(main, options.nodes, options.kills, not options.exec)
