"""The functions of a shop, and of its bank, whose calls the dashboard's tests look at."""

from __future__ import annotations

import time
from typing import Any

from understudy import Constant, Context, Runtime

runtime = Runtime(group="shop")


@runtime.register
def price(ctx: Context, item: str) -> int:
    """Look a price up, which takes a moment."""
    time.sleep(0.04)
    return 3 * len(item)


@runtime.register
def reserve(ctx: Context, items: list[str]) -> dict[str, Any]:
    """Reserve items."""
    ctx.log.warning("shelf %d is nearly empty", 7)
    time.sleep(0.12)
    return {"reserved": items, "until": "2026-12-24", "shelf": 7}


@runtime.register(retry=Constant(0.4, 3))
def charge(ctx: Context, amount: int) -> str:
    """Charge a card; a large amount is declined."""
    time.sleep(0.06)
    if amount > 1000:
        raise ValueError(f"the card was declined: {amount} is over the limit")
    return f"receipt-{amount}"


@runtime.register
def checkout(ctx: Context, items: list[str]) -> Any:
    """Reserve, price and charge."""
    ctx.log.info("somebody buys %d things", len(items), extra={"basket": items})
    yield ctx.run(_check_stock, items)
    yield ctx.rpc(reserve, items)
    prices = yield ctx.map(price, items)
    total = sum(prices)
    yield ctx.sleep(0.3)
    receipt = yield ctx.rpc(charge, total)
    return {"total": total, "receipt": receipt}


def _check_stock(ctx: Context, items: list[str]) -> str:
    time.sleep(0.05)
    return f"{len(items)} in stock"


@runtime.register
def refund(ctx: Context, amount: int) -> Any:
    """Charge too much, which fails."""
    return (yield ctx.rpc(charge, amount))


@runtime.register
def reminder(ctx: Context, delay_s: float) -> Any:
    """Look a price up, sleep, and look another one up."""
    yield ctx.rpc(price, "before")
    yield ctx.sleep(delay_s)
    yield ctx.rpc(price, "after")
    return "sent"


@runtime.register
def approval(ctx: Context, amount: int) -> Any:
    """Wait for a person."""
    ctx.log.warning("%s needs an approval", amount)
    promise = yield ctx.promise(timeout=7 * 24 * 3600)
    answer = yield promise
    return {"amount": amount, "answer": answer}


@runtime.register
def stocktaking(ctx: Context, count: int) -> Any:
    """Call many children."""
    prices = yield ctx.map(price, [f"item {number}" for number in range(count)])
    return sum(prices)


@runtime.register
def printing(ctx: Context, page: int) -> None:
    """Fail again and again, with a pause between."""
    raise OSError(f"the printer is out of paper at page {page}")
