"""service-d: `qux`, the first function of the detached chain. It starts `quz` and returns.

Run it with ``python -m examples.async_rpc.service_d``.
"""

from collections.abc import Generator
from typing import Any

from understudy import Context, Runtime

runtime = Runtime(group="service-d")


@runtime.register
def qux(ctx: Context) -> Generator[Any, Any, str]:
    print("running function qux")
    yield ctx.detached("quz", 1).options(target="poll://service-e")
    return "quz is started"


if __name__ == "__main__":
    runtime.serve()
