"""Calls over HTTP beside the same calls over ZeroMQ: time of one, and calls per second of an edge.

Run it with ``python -m benchmarks.http_calls``.

A broker with a store in a file, a node, an edge and this client share the machine. The function
adds two numbers. Processor time is that of the edge; calls per second depend on the other processes
too, which take their cores from it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import trio

from tests.integration.sdk.edge.rig import Rig, open_rig

CALLS: Final = 500
CONNECTIONS: Final = 32
ROUNDS: Final = 3

_BODY: Final = b"[1,2]"
_REQUEST: Final = (
    b"POST /calls/shop/add?wait=30s HTTP/1.1\r\nhost: localhost\r\n"
    b"content-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)
_LENGTH: Final = b"content-length: "


def over_zeromq(rig: Rig, calls: int) -> list[float]:
    """Return the seconds of each call, one after the other."""
    runtime = rig.system.runtime.options(target="shop")
    run = time.time_ns()
    times = []
    for number in range(calls):
        began = time.perf_counter()
        runtime.rpc(f"zeromq-{run}-{number}", "add", 1, 2).result()
        times.append(time.perf_counter() - began)
    return times


def over_http(rig: Rig, calls: int, connections: int) -> list[float]:
    """Return the seconds of each call; each connection makes its own, one after the other."""
    times: list[float] = []

    async def client() -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", rig.port)
        async with stream:
            for _ in range(calls // connections):
                began = time.perf_counter()
                await stream.send_all(_REQUEST)
                got = b""
                while not _is_whole(got):
                    got += await stream.receive_some(65_536)
                assert got.startswith(b"HTTP/1.1 200"), got
                times.append(time.perf_counter() - began)

    async def all_clients() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(connections):
                nursery.start_soon(client)

    trio.run(all_clients)
    return times


def _is_whole(got: bytes) -> bool:
    head, _, body = got.partition(b"\r\n\r\n")
    start = head.lower().find(_LENGTH)
    return start >= 0 and len(body) >= int(head[start + len(_LENGTH) :].partition(b"\r\n")[0])


def processor_s(pid: int) -> float:
    """Return the processor time of a process so far; Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    """Measure, in rounds, and print the median of each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    zeromq, http, rates, costs = [], [], [], []
    with tempfile.TemporaryDirectory() as folder, open_rig(Path(folder)) as rig:
        over_http(rig, 100, 4)
        over_zeromq(rig, 100)
        for _ in range(options.rounds):
            zeromq.append(statistics.median(over_zeromq(rig, options.calls)))
            http.append(statistics.median(over_http(rig, options.calls, 1)))
            before, began = processor_s(rig.edge.pid), time.perf_counter()
            many = len(over_http(rig, 4 * options.calls, options.connections))
            rates.append(many / (time.perf_counter() - began))
            costs.append((processor_s(rig.edge.pid) - before) / many)
    print(f"a call over ZeroMQ: p50 {statistics.median(zeromq) * 1000:.2f} ms")
    print(f"a call over HTTP:   p50 {statistics.median(http) * 1000:.2f} ms")
    print(
        f"{options.connections} connections: {statistics.median(rates):,.0f} calls/s, "
        f"{statistics.median(costs) * 1000:.2f} ms of processor time of the edge for each"
    )


if __name__ == "__main__":
    main()
