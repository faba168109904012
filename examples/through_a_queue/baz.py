"""A service that takes its calls from a queue of RabbitMQ."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

from understudy import Context, Runtime

#: the queue; UNDERSTUDY_TASK_SOURCE may name another one
QUEUE = os.environ.get("UNDERSTUDY_TASK_SOURCE", "amqp://guest:guest@127.0.0.1/service-baz")

runtime = Runtime("baz", task_source=QUEUE)


@runtime.register
def total(ctx: Context, amounts: list[int]) -> Generator[Any, Any, int]:
    """Add up amounts with their tax. The calls of `with_tax` go through the queue, too."""
    taxed = yield from ctx.map(with_tax, amounts)
    return sum(taxed)


@runtime.register
def with_tax(ctx: Context, amount: int) -> int:
    """Add a tenth to an amount."""
    del ctx
    return amount + amount // 10
