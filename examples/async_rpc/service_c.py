"""service-c: `baz`, the end of the await chain, which does the work.

It works for as many seconds as it is told, in an ordinary blocking call. If ASYNC_RPC_LEDGER names
a file, it adds a line to it, so that one can count how often it ran.
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
