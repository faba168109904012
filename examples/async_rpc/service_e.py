"""service-e: `quz`, the second function of the detached chain. It starts `cog` and returns.

Run it with ``python -m examples.async_rpc.service_e``.
"""

from collections.abc import Generator
from typing import Any

from understudy import Context, Runtime

runtime = Runtime(group="service-e")


@runtime.register
def quz(ctx: Context, number: int) -> Generator[Any, Any, str]:
    print("running function quz")
    yield ctx.detached("cog", number + 1).options(target="poll://service-f")
    return "cog is started"


if __name__ == "__main__":
    runtime.serve()
