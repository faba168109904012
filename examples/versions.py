"""Two versions of a function side by side: old calls end as they began, new calls use the new code.

A function whose code has changed cannot go on with a history that the old code made: such a run
fails with `NonDeterminismError`. So the new code is registered as version 2 beside the old. A call
takes the highest version unless `.options(version=...)` says which.
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
