"""service-a: `foo`, the first function of the await chain. It waits for `bar`.

The wait survives a crash of either process. Run it with ``python -m examples.async_rpc.service_a``.
"""

from collections.abc import Generator
from typing import Any

from understudy import Context, Runtime

runtime = Runtime(group="service-a")


@runtime.register
def foo(ctx: Context, seconds: float = 0.0) -> Generator[Any, Any, int]:
    print("running function foo")
    result: int = yield ctx.rpc("bar", seconds).options(target="poll://service-b")
    return result + 1


if __name__ == "__main__":
    runtime.serve()
