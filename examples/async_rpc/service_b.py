"""service-b: `bar`, the second function of the await chain. It waits for `baz`.

The demo kills this service. Run it with ``python -m examples.async_rpc.service_b``.
"""

from collections.abc import Generator
from typing import Any

from understudy import Context, Runtime

runtime = Runtime(group="service-b")


@runtime.register
def bar(ctx: Context, seconds: float = 0.0) -> Generator[Any, Any, int]:
    print("running function bar")
    result: int = yield ctx.rpc("baz", seconds).options(target="poll://service-c")
    return result + 1


if __name__ == "__main__":
    runtime.serve()
