"""Calls through an edge: over HTTP and over gRPC, one after the other and many at a time.

``python -m benchmarks.edges`` prints a table. Broker (over SQLite, synced), node, edge and the
client are processes of this machine, and all of them share its processors: the client takes a good
part of them, so the figures compare the two protocols, and say little about how fast an edge is.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, TypeAlias

import aiohttp
import grpc

from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.grpc.v1.understudy_pb2_grpc import UnderstudyStub

#: makes one call, and returns once it has its result
Call: TypeAlias = Callable[[str], Awaitable[None]]

NODE: Final = """
from understudy import Context, Runtime

runtime = Runtime("shop")


@runtime.register
def add(ctx: Context, a: int, b: int) -> int:
    return a + b


runtime.serve()
"""
ROUNDS: Final = 3
WARM_UP: Final = 200


@contextmanager
def deployment() -> Iterator[tuple[str, str]]:
    """Run a broker, a node and an edge; yield the places of the edge for HTTP and for gRPC."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"ipc://{folder}/broker"
        (Path(folder) / "node.py").write_text(NODE)
        store = ["--store", f"sqlite:///{folder}/store.db", "--http", "off"]
        edge = ["--listen", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--url", url]
        programs = [
            ["-m", "understudy", "broker", "--listen", url, *store],
            [f"{folder}/node.py"],
            ["-m", "understudy", "edge", *edge],
        ]
        log = Path(folder) / "log"
        with log.open("wb") as output:
            running = [
                subprocess.Popen(
                    [sys.executable, *program],
                    env={"UNDERSTUDY_URL": url, "PYTHONUNBUFFERED": "1"},
                    stdout=output,
                    stderr=output,
                )
                for program in programs
            ]
            try:
                yield _place(log, "http"), _place(log, "grpc")
            finally:
                for process in running:
                    process.kill()
                    process.wait()


def _place(log: Path, scheme: str) -> str:
    deadline = time.monotonic() + 30
    while True:
        if found := re.search(rf"understudy edge: {scheme}://(\S+)", log.read_text()):
            return found[1]
        if time.monotonic() > deadline:
            raise SystemExit(log.read_text())
        time.sleep(0.05)


@asynccontextmanager
async def over_http(place: str) -> AsyncIterator[dict[str, Call]]:
    """Yield the ways to make a call over HTTP."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(f"http://{place}", connector=connector) as session:

        async def call(id_: str) -> None:
            path = f"/calls/shop/add?id={id_}&wait=60s"
            async with session.post(path, json=[1, 2]) as answer:
                assert (await answer.json())["value"]["data"] == 3

        yield {"HTTP: POST with wait": call}


@asynccontextmanager
async def over_grpc(place: str) -> AsyncIterator[dict[str, Call]]:
    """Yield the ways to make a call over gRPC."""
    async with grpc.aio.insecure_channel(place) as channel:
        stub = UnderstudyStub(channel)

        def start(id_: str, wait: float) -> v1.StartRequest:
            return v1.StartRequest(group="shop", function="add", json="[1, 2]", id=id_, wait=wait)

        async def start_with_wait(id_: str) -> None:
            call = await stub.Start(start(id_, 60), timeout=60)
            assert call.value.json == "3"

        async def start_then_wait(id_: str) -> None:
            await stub.Start(start(id_, 0), timeout=60)
            call = await stub.Wait(v1.WaitRequest(id=id_), timeout=60)
            assert call.value.json == "3"

        yield {"gRPC: Start with wait": start_with_wait, "gRPC: Start, Wait": start_then_wait}


_numbers: Final = itertools.count()


async def latencies_ms(call: Call, count: int) -> list[float]:
    """Return how long calls take that are made one after the other."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        await call(f"one-{next(_numbers)}")
        found.append((time.perf_counter() - began) * 1000)
    return sorted(found)


async def calls_per_s(call: Call, count: int, at_once: int) -> float:
    """Return how many calls end in a second while so many are made at once."""

    async def client() -> None:
        for _ in range(count // at_once):
            await call(f"many-{next(_numbers)}")

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(at_once)))
    return count // at_once * at_once / (time.perf_counter() - began)


async def main(count: int, at_once: int) -> None:
    """Measure, and print a table."""
    with deployment() as (http, grpc_):
        async with over_http(http) as one, over_grpc(grpc_) as other:
            ways = one | other
            figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
            for call in ways.values():
                await latencies_ms(call, WARM_UP)
            for _ in range(ROUNDS):
                for name, call in ways.items():
                    times = await latencies_ms(call, count // 4)
                    rate = await calls_per_s(call, count, at_once)
                    p99 = times[len(times) * 99 // 100]
                    figures[name].append((times[len(times) // 2], p99, rate))
    print(f"median of {ROUNDS} rounds, {count // 4:,} and {count:,} calls, {at_once} at once")
    print(f"{'':24}{'p50 ms':>10}{'p99 ms':>10}{'calls/s':>10}")
    for name, rows in figures.items():
        p50, p99, rate = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:24}{p50:10.2f}{p99:10.2f}{rate:10.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--at-once", type=int, default=64)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.calls, arguments.at_once))
