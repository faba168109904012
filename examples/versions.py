"""Two versions of a function: calls that began with the old code also end with it.

Changed code cannot continue a call that the old code began: its replay would differ, and the call
would be parked until the old code is back. So the new code is registered as version 2, beside the
old code. A call uses the highest version unless `.options(version=...)` names another.

Run it with ``python examples/versions.py``.
"""

from collections.abc import Generator
from typing import Any

from understudy import Context, Runtime

runtime = Runtime.local()


def tax(_: Context, amount: int, percent: int) -> int:
    return amount * percent // 100


@runtime.register(name="price", version=1)
def price_v1(ctx: Context, amount: int) -> Generator[Any, Any, str]:
    total = amount + (yield from ctx.run(tax, amount, 16))
    return f"{total} by version {ctx.info.version}"


@runtime.register(name="price", version=2)
def price_v2(ctx: Context, amount: int) -> Generator[Any, Any, str]:
    shipping = 5
    total = amount + shipping + (yield from ctx.run(tax, amount + shipping, 19))
    return f"{total} by version {ctx.info.version}"


def main() -> None:
    with runtime:
        print("old:", runtime.options(version=1).rpc("price-1", "price", 100).result(timeout=30))
        print("new:", runtime.rpc("price-2", "price", 100).result(timeout=30))


if __name__ == "__main__":
    main()
