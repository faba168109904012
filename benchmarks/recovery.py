"""Recovery times: until work goes on after a node was killed or stopped, or a broker was killed.

::

    python -m benchmarks.recovery --kills 100 --stops 20 --brokers 20

One call runs at a time, on two nodes. Its function records that it begins, and waits. The node that
runs it is killed, and the time to the next attempt on the other node is measured; or the node is
stopped, and the lease (one second) is subtracted. A broker is killed while no call runs; the times
are measured from the moment at which the next broker listens until both nodes are connected, and
until a call has returned. The program prints the times and judges nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Final

import trio

from benchmarks.restarts import GROUP, PATIENCE_S, POLICY, attempts, pids, until
from understudy import Runtime
from understudy.bench.deployment import free_port
from understudy_actors.processes import open_pool
from understudy_actors.processes.topology import BrokerEntry, GroupEntry, Topology, processes

NODES: Final = 2
LEASE_S: Final = 1.0


class Bench:
    """A running system, a client of it, and the times measured, in milliseconds."""

    def __init__(self, client: Runtime, folder: Path, listened: list[tuple[int, float]]) -> None:
        self._client = client
        self._folder = folder
        #: Process id and time of each start of the broker.
        self._listened = listened
        self._calls = 0
        self.figures: dict[str, list[float]] = {}

    def note(self, what: str, seconds: float) -> None:
        self.figures.setdefault(what, []).append(1000 * seconds)

    def strike_node(self, number: signal.Signals) -> None:
        """Make a call, and send a signal that kills or stops its node."""
        client = self._client
        until(lambda: len(pids(client)) == NODES)
        self._calls += 1
        path = self._folder / f"attempts-{self._calls}"
        handle = client.options(target=GROUP).rpc(f"{self._calls}", "attempt", str(path))
        pid, _ = until(partial(attempts, path, 1))[0]
        struck_at = time.monotonic()
        os.kill(pid, number)
        _, began_at = until(partial(attempts, path, 2))[1]
        handle.result(PATIENCE_S)
        if number == signal.SIGSTOP:
            self.note("lapse of the lease to next attempt", began_at - struck_at - LEASE_S)
            os.kill(pid, signal.SIGKILL)
        else:
            self.note("node killed to next attempt", began_at - struck_at)

    def kill_broker(self) -> None:
        """Kill the broker; measure the time to its nodes' return, and to a call's return."""
        client = self._client
        until(lambda: len(pids(client)) == NODES)
        times, nodes = len(self._listened), pids(client)
        killed_at = time.monotonic()
        os.kill(self._listened[-1][0], signal.SIGKILL)
        until(lambda: len(self._listened) > times)
        listens_at = self._listened[-1][1]
        self.note("broker killed to next one listening", listens_at - killed_at)
        until(lambda: pids(client) == nodes)
        self.note("broker listening to its nodes back", time.monotonic() - listens_at)
        self._calls += 1
        path = self._folder / f"attempts-{self._calls}"
        path.write_text("0 0\n")  # With one attempt on record, the next one returns.
        client.options(target=GROUP).rpc(f"{self._calls}", "attempt", str(path)).result(PATIENCE_S)
        self.note("broker killed to a call done", time.monotonic() - killed_at)


def measure(bench: Bench, kills: int, stops: int, brokers: int) -> None:
    for _ in range(kills):
        bench.strike_node(signal.SIGKILL)
    for _ in range(stops):
        bench.strike_node(signal.SIGSTOP)
    for _ in range(brokers):
        bench.kill_broker()


def topology(folder: Path) -> Topology:
    url = f"tcp://127.0.0.1:{free_port()}"
    return Topology(
        folder=Path.cwd(),
        brokers=(
            BrokerEntry(
                listen=url,
                store=f"sqlite:///{folder}/calls.db",
                settings={"lease_ttl_s": str(LEASE_S), "deaths_max": "0", "log_format": "json"},
            ),
        ),
        url=url,
        groups=(GroupEntry(name=GROUP, app="benchmarks.restarts:runtime", nodes=NODES),),
    )


async def main(kills: int, stops: int, brokers: int) -> dict[str, list[float]]:
    """Run all three measurements; return the times by name, in milliseconds."""
    listened: list[tuple[int, float]] = []

    def on_line(name: str, line: str) -> None:
        if name == "broker" and " listening on " in line:
            pid = int(line.partition(", process ")[2].partition('"')[0])
            listened.append((pid, time.monotonic()))

    with tempfile.TemporaryDirectory(prefix="understudy-recovery-") as name:
        system = topology(Path(name))
        async with open_pool(on_line=on_line) as pool:
            for spec in processes(system):
                await pool.start(dataclasses.replace(spec, restart=POLICY))
            client = Runtime(group="client", url=system.url, connect_timeout=PATIENCE_S)
            with client:
                bench = Bench(client, Path(name), listened)
                await trio.to_thread.run_sync(measure, bench, kills, stops, brokers)
    return bench.figures


def show(figures: dict[str, list[float]]) -> None:
    for what, values in figures.items():
        values.sort()
        p99 = values[min(len(values) - 1, int(0.99 * len(values)))]
        print(
            f"{what:<36} p50 {statistics.median(values):7.1f} ms  p99 {p99:7.1f} ms  "
            f"max {values[-1]:7.1f} ms  of {len(values)}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    for option, count, meaning in (
        ("--kills", 100, "kills of a node"),
        ("--stops", 20, "stops of a node, for longer than its lease"),
        ("--brokers", 20, "kills of the broker"),
    ):
        parser.add_argument(option, type=int, default=count, help=f"{meaning} [default: {count}]")
    options = parser.parse_args()
    show(trio.run(main, options.kills, options.stops, options.brokers))
