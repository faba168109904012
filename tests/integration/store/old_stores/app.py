"""The functions of the calls in a store that an earlier version left behind.

This file runs with that version's code and with today's, so it uses only what both have.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from understudy import Context, Runtime

#: seconds after which no deadline of the store has passed for a long time
FOREVER_S = 50 * 365 * 86_400.0

runtime = Runtime(group="old")


@dataclass
class Order:
    """An order, to see a class and its types travel through time."""

    number: int
    items: tuple[str, ...]


@dataclass
class Receipt:
    """The result of a checkout; `began` in seconds since the epoch."""

    order: Order
    cost: int
    decision: str
    began: float


@runtime.register
def price(_: Context, order: Order) -> int:
    """Return the price of an order, or fail."""
    if not order.items:
        raise ValueError(f"order {order.number} is empty")
    return 10 * len(order.items)


@runtime.register
def checkout(ctx: Context, order: Order) -> Generator[Any, Any, Receipt]:
    """Price an order, and wait for a person."""
    cost: int = yield ctx.rpc(price, order)
    began = ctx.time
    gate = yield from ctx.promise(timeout=FOREVER_S)
    decision = yield from gate
    return Receipt(order, cost, decision, began)


@runtime.register
def slow(_: Context, seconds: float) -> str:
    """Hold a task."""
    time.sleep(seconds)
    return "slept"


if __name__ == "__main__":
    runtime.serve()
