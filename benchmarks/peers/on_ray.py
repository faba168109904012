"""Ray: two actors for the fan-out; for the chain one asynchronous actor per hop."""

from __future__ import annotations

import ray

from benchmarks.peers.program import IN_FLIGHT, chain_of, chains_of, fan_out_of, serve

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)


@ray.remote(num_cpus=0)
class Worker:
    def noop(self, value: int) -> int:
        return value


@ray.remote(num_cpus=0, max_concurrency=IN_FLIGHT)
class Hop:
    """A hop of a chain: calls the next one, if there is one."""

    def __init__(self, following=None) -> None:
        self.following = following

    async def call(self) -> int:
        return 1 + (await self.following.call.remote() if self.following else 0)


WORKERS = [Worker.remote() for _ in range(2)]
HOP_C = Hop.remote()
HOP_B = Hop.remote(HOP_C)
HOP_A = Hop.remote(HOP_B)


def fan_out(size: int) -> int:
    return sum(ray.get([WORKERS[number % 2].noop.remote(number) for number in range(size)]))


if __name__ == "__main__":
    serve(
        {
            "fan_out": fan_out_of(fan_out),
            "chain": chain_of(lambda: ray.get(HOP_A.call.remote())),
            "chains": chains_of(lambda: HOP_A.call.remote(), ray.get),
        }
    )
