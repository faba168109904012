"""service-d: `qux`, the first of the detached chain. It hands over to `quz` and is done."""

from collections.abc import Generator
from typing import Any

from understudy import Context, Runtime

runtime = Runtime(group="service-d")


@runtime.register
def qux(ctx: Context) -> Generator[Any, Any, str]:
    print("running function qux")
    yield ctx.detached("quz", 1).options(target="poll://service-e")
    return "handed over to quz"


if __name__ == "__main__":
    runtime.serve()
