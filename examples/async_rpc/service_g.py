"""service-g: `zim`, the fan-out workflow. It calls `rax` and `dop`, which run at the same time.

Run it with ``python -m examples.async_rpc.service_g``.
"""

from collections.abc import Generator
from typing import Any

from understudy import Context, Runtime

runtime = Runtime(group="service-g")


@runtime.register
def zim(ctx: Context, number: int) -> Generator[Any, Any, int]:
    print("running function zim")
    promise_rax = yield ctx.begin_rpc("rax").options(target="poll://service-h")
    promise_dop = yield ctx.begin_rpc("dop").options(target="poll://service-i")
    result_rax: int = yield promise_rax
    result_dop: int = yield promise_dop
    return result_rax + result_dop + number


if __name__ == "__main__":
    runtime.serve()
