"""service-b: `bar`, the middle of the await chain. The demo kills this one."""

from collections.abc import Generator
from typing import Any

from understudy import Context, Runtime

runtime = Runtime(group="service-b")


@runtime.register
def bar(ctx: Context, seconds: float = 0.0) -> Generator[Any, Any, int]:
    print("running function bar")
    result: int = yield ctx.rfc("baz", seconds).options(target="poll://service-c")
    return result + 1


if __name__ == "__main__":
    runtime.serve()
