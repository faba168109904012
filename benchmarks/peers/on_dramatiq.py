"""Dramatiq: a group for the fan-out, a pipeline for the chain; results by the Redis backend."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.peers.program import chain_of, chains_of, fan_out_of, serve

LIMIT_MS = 600_000
URL = os.environ["BENCH_URL"]

broker = RedisBroker(url=URL)
broker.add_middleware(Results(backend=RedisBackend(url=URL)))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def noop(value: int) -> int:
    return value


@dramatiq.actor(store_results=True)
def hop(value: int) -> int:
    return value + 1


def fan_out(size: int) -> int:
    calls = dramatiq.group(noop.message(number) for number in range(size)).run()
    return sum(calls.get_results(block=True, timeout=LIMIT_MS))


def start():
    return (hop.message(0) | hop.message() | hop.message()).run()


def wait(handle) -> int:
    return handle.get_result(block=True, timeout=LIMIT_MS)


if __name__ == "__main__":
    serve(
        {
            "fan_out": fan_out_of(fan_out),
            "chain": chain_of(lambda: wait(start())),
            "chains": chains_of(start, wait),
        }
    )
