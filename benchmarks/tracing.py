"""The cost of traces: the same calls without and with them, in pairs.

``python -m benchmarks.tracing`` starts two deployments of a broker and two nodes. In one of them
the nodes trace a tenth of all calls, and the client does while it calls there. The two take turns.
Time on the clock depends on whatever else the machine does, so the time of processors is compared
too: that of the client, the broker and the nodes together (Linux only).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.traced_app import provider
from understudy import Runtime
from understudy.bench.deployment import Deployment, wait_for_nodes
from understudy.bench.workloads import LIMIT_S, run_id
from understudy.tracing import set_tracer_provider

NODES: Final = 2
#: calls of one fan-out; a fan-out is one trace
BREADTH: Final = 200
FAN_OUTS: Final = 20
CHAINS: Final = 200
_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """Seconds that some calls took, on the clock and of all processors."""

    clock_s: float
    processors_s: float


def fan_outs(client: Runtime) -> None:
    """Make fan-outs, one after the other."""
    for _ in range(FAN_OUTS):
        client.rpc(run_id("fan-out"), "fan_out", BREADTH).result(LIMIT_S)


def chains(client: Runtime) -> None:
    """Make chains of three calls, one after the other."""
    for _ in range(CHAINS):
        client.rpc(run_id("chain"), "hop_a").result(LIMIT_S)


WORKLOADS: Final[dict[str, Callable[[Runtime], None]]] = {"fan-out": fan_outs, "chain": chains}


def processors_s() -> float:
    """Return the processor time of this process and of its descendants, in seconds."""
    parents: dict[int, int] = {}
    used: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])
            used[int(folder.name)] = int(fields[11]) + int(fields[12])
    own, count = {os.getpid()}, 0
    while len(own) != count:
        count = len(own)
        own |= {process for process, parent in parents.items() if parent in own}
    return sum(used.get(process, 0) for process in own) * _TICK_S


def measured(work: Callable[[Runtime], None], client: Runtime) -> Cost:
    """Return what some calls cost."""
    began_s, used_s = time.perf_counter(), processors_s()
    work(client)
    return Cost(time.perf_counter() - began_s, processors_s() - used_s)


def pairs(rounds: int) -> Iterator[tuple[str, Cost, Cost]]:
    """Return the cost of each workload, without traces and with them, in each round."""
    traced = provider()
    with ExitStack() as stack:
        plain_at = stack.enter_context(Deployment(NODES))
        traced_at = stack.enter_context(Deployment(NODES, "benchmarks.traced_app:runtime"))
        clients = [
            stack.enter_context(Runtime(group="bench", url=each.url))
            for each in (plain_at, traced_at)
        ]
        for client in clients:
            wait_for_nodes(client, "bench", NODES)
        for number in range(-1, rounds):
            for name, work in WORKLOADS.items():
                costs: dict[int, Cost] = {}
                for index in (0, 1) if number % 2 else (1, 0):
                    set_tracer_provider(traced if index else None)
                    costs[index] = measured(work, clients[index])
                if number >= 0:
                    yield name, costs[0], costs[1]


def summary(what: str, found: list[tuple[float, float]]) -> str:
    """Return a line about pairs of times, without traces and with them."""
    low, middle, high = statistics.quantiles([traced / plain for plain, traced in found], n=4)
    total = sum(traced for _, traced in found) / sum(plain for plain, _ in found)
    return (
        f"{what}: {total - 1:+.1%} with traces (median of {len(found)} pairs {middle - 1:+.1%}, "
        f"quartiles {low - 1:+.1%} and {high - 1:+.1%})"
    )


def main() -> None:
    """Print the cost of each workload."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    found: dict[str, list[tuple[Cost, Cost]]] = {name: [] for name in WORKLOADS}
    for name, plain, traced in pairs(parser.parse_args().rounds):
        found[name].append((plain, traced))
    for name, costs in found.items():
        print(summary(f"{name}, clock", [(a.clock_s, b.clock_s) for a, b in costs]))
        print(summary(f"{name}, processors", [(a.processors_s, b.processors_s) for a, b in costs]))


if __name__ == "__main__":
    main()
