"""Celery: a group for the fan-out, a chain for the chain; results by the Redis backend."""

from __future__ import annotations

import os

from celery import Celery, chain, group

from benchmarks.peers.program import chain_of, chains_of, fan_out_of, serve

LIMIT_S = 600
#: Seconds to wait for a result. Once, a client missed the message of one and waited forever.
CHAIN_LIMIT_S = 120
URL = os.environ["BENCH_URL"]

app = Celery("on_celery", broker=URL, backend=URL)


# Tasks get explicit names, because this module is called __main__ when it runs as a program.
@app.task(name="noop")
def noop(value: int) -> int:
    return value


@app.task(name="hop")
def hop(value: int) -> int:
    return value + 1


def fan_out(size: int) -> int:
    return sum(group(noop.s(number) for number in range(size))().get(timeout=LIMIT_S))


def start():
    return chain(hop.s(0), hop.s(), hop.s())()


def wait(handle) -> int:
    return handle.get(timeout=CHAIN_LIMIT_S)


if __name__ == "__main__":
    serve(
        {
            "fan_out": fan_out_of(fan_out),
            "chain": chain_of(lambda: wait(start())),
            "chains": chains_of(start, wait),
        }
    )
