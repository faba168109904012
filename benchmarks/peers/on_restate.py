"""Restate: handlers of one service that call each other; the caller speaks HTTP to the ingress."""

from __future__ import annotations

import http.client
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import restate

from benchmarks.peers.program import IN_FLIGHT, chain_of, chains_of, fan_out_of, serve

bench = restate.Service("bench")


@bench.handler()
async def noop(_: restate.Context, value: int) -> int:
    return value


@bench.handler()
async def hop_c(_: restate.Context) -> int:
    return 1


@bench.handler()
async def hop_b(ctx: restate.Context) -> int:
    return await ctx.service_call(hop_c, arg=None) + 1


@bench.handler()
async def hop_a(ctx: restate.Context) -> int:
    return await ctx.service_call(hop_b, arg=None) + 1


@bench.handler()
async def parent(ctx: restate.Context, size: int) -> int:
    calls = [ctx.service_call(noop, arg=number) for number in range(size)]
    return sum([await call for call in calls])


app = restate.app([bench])

_local = threading.local()


def call(name: str, argument=None) -> int:
    """Call a handler through the ingress, on a connection that each thread keeps open."""
    connection = getattr(_local, "connection", None)
    if connection is None:
        where = urlsplit(os.environ["BENCH_URL"])
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=600)
        _local.connection = connection
    body = None if argument is None else json.dumps(argument)
    headers = {} if argument is None else {"content-type": "application/json"}
    connection.request("POST", f"/bench/{name}", body, headers)
    response = connection.getresponse()
    text = response.read()
    if response.status != 200:
        raise RuntimeError(f"{name}: {response.status} {text[:500]!r}")
    return json.loads(text)


if __name__ == "__main__":
    threads = ThreadPoolExecutor(IN_FLIGHT)
    serve(
        {
            "fan_out": fan_out_of(lambda size: call("parent", size)),
            "chain": chain_of(lambda: call("hop_a")),
            "chains": chains_of(lambda: threads.submit(call, "hop_a"), lambda f: f.result()),
        }
    )
