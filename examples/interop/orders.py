"""The group `orders`, in Python: `order` calls a function in TypeScript, which calls `price`.

Run it with ``understudy node orders:runtime`` in this folder.
"""

from collections.abc import Generator
from typing import Any

from understudy import Context, Runtime

runtime = Runtime(group="orders")

CENTS = {"tea": 400, "cup": 900}


@runtime.register
def order(ctx: Context, items: list[str]) -> Generator[Any, Any, str]:
    receipt = yield ctx.rpc("charge", items).options(target="payments")  # in payments.ts
    return f"charged {receipt['cents']} cents"


@runtime.register
def price(_: Context, item: str) -> int:
    return CENTS[item]
