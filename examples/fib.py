"""Recursion by remote calls: every fib(n) is a durable call of its own.

Each call starts both of its children before it waits for either, so they run at the same time, on
any node that has room. A function that waits occupies no thread, so the recursion cannot deadlock.

Run it with ``python examples/fib.py``.
"""

from collections.abc import Generator
from typing import Any

from understudy import Context, Runtime

runtime = Runtime.local()


@runtime.register
def fib(ctx: Context, n: int) -> Generator[Any, Any, int]:
    if n < 2:
        return n
    one = yield from ctx.begin_rpc(fib, n - 1)
    two = yield from ctx.begin_rpc(fib, n - 2)
    return (yield from one) + (yield from two)


def main() -> None:
    with runtime:
        print(f"fib(10) = {runtime.rpc('fib-10', fib, 10).result()}")
        calls = sum(1 for _ in runtime.promises.search(prefix="fib-10"))
        print(f"{calls} calls were made, and each is stored. The first has the id fib-10,")
        print("its children have fib-10.1 and fib-10.2, their children fib-10.1.1 and so on")


if __name__ == "__main__":
    main()
