"""service-e: `quz`, the middle of the detached chain. It adds one and hands over to `cog`."""

from collections.abc import Generator
from typing import Any

from understudy import Context, Runtime

runtime = Runtime(group="service-e")


@runtime.register
def quz(ctx: Context, arg: int) -> Generator[Any, Any, str]:
    print("running function quz")
    yield ctx.detached("cog", arg + 1).options(target="poll://service-f")
    return "handed over to cog"


if __name__ == "__main__":
    runtime.serve()
