"""service-c: `baz`, the last function of the await chain. It does the work.

The work is an ordinary blocking call of as many seconds as the argument says. If ASYNC_RPC_LEDGER
names a file, each run adds a line to it, so that the runs can be counted. Run it with
``python -m examples.async_rpc.service_c``.
"""

import os
import time
from pathlib import Path

from understudy import Context, Runtime

runtime = Runtime(group="service-c")


@runtime.register
def baz(ctx: Context, seconds: float = 0.0) -> int:
    print("running function baz")
    ledger = os.environ.get("ASYNC_RPC_LEDGER")
    if ledger is not None:
        with Path(ledger).open("a", encoding="utf-8") as file:
            file.write(f"{ctx.id}\n")
    time.sleep(seconds)
    return 1


if __name__ == "__main__":
    runtime.serve()
