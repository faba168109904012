"""The orders: each is a call with calls of its own, and all of it is at one of the brokers.

Nothing here says that there are several brokers. ``understudy up examples/brokers/topology.toml``
starts two nodes of this program.
"""

from collections.abc import Generator
from typing import Any

from understudy import Context, Runtime

runtime = Runtime(group="orders")


@runtime.register
def price(_: Context, item: int) -> int:
    return 10 * item


@runtime.register
def order(ctx: Context, items: list[int]) -> Generator[Any, Any, int]:
    prices = yield ctx.all([ctx.begin_rpc(price, item) for item in items])
    yield ctx.sleep(0.1)
    return sum(prices)


if __name__ == "__main__":
    runtime.serve()
