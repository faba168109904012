"""Async functions: `await ctx...` instead of `yield ctx...`. The caller is async too.

`await` keeps exact types: mypy knows that `bar` takes an int and returns one.

Run it with ``python examples/async_style.py``.
"""

import trio

from understudy import Context, Runtime

runtime = Runtime.local()


@runtime.register
async def foo(ctx: Context, number: int) -> int:
    bar_promise = await ctx.begin_rpc(bar, number)
    baz_result = await ctx.rpc(baz, number)
    return await bar_promise + baz_result


@runtime.register
async def bar(ctx: Context, number: int) -> int:
    await ctx.sleep(0.1)
    return number + 1


@runtime.register
def baz(_: Context, number: int) -> int:
    return number * 10


async def main() -> None:
    async with runtime:
        print("foo(4) =", await runtime.rpc("async-style-1", foo, 4))


if __name__ == "__main__":
    trio.run(main)
