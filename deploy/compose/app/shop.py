"""An app to begin with: put your own beside it, and name it in compose.yaml."""

from understudy import Context, Runtime

runtime = Runtime(group="orders")


@runtime.register
def order(ctx: Context, item: str, count: int):
    prices = []
    for number in range(count):
        prices.append((yield ctx.rfi(price, item, number)))
    total = sum((yield ctx.all(prices)))
    return {"item": item, "total": total}


@runtime.register
def price(ctx: Context, item: str, number: int) -> int:
    return len(item) + number
