"""Nodes of their own: one script, several processes.

`runtime.spawn` starts processes of a group and sends them the functions that are registered here,
by cloudpickle, so they may stand in this very script. Calls to the group go to whichever node has
room. A node that dies is started again, and its calls go on elsewhere; all end with this script.
"""

import os
import time
from collections import Counter
from collections.abc import Generator
from itertools import count
from typing import Any

from understudy import Context, Runtime

runtime = Runtime.local()

NUMBERS = range(40)
SUM = sum(number * number for number in NUMBERS)


@runtime.register
def work(_: Context, number: int) -> tuple[int, int]:
    time.sleep(0.02)
    return number * number, os.getpid()


@runtime.register
def spread(ctx: Context) -> Generator[Any, Any, list[tuple[int, int]]]:
    results: list[tuple[int, int]] = yield from ctx.map(work, NUMBERS, target="poll://workers")
    return results


def main() -> None:
    shares: Counter[int] = Counter()
    right = True
    with runtime:
        workers = runtime.spawn("workers", nodes=2)
        # again and again, for one of the nodes may be up a while before the other
        for number in count(1):
            results = runtime.rpc(f"spread-{number}", spread).result(timeout=60)
            right = right and sum(square for square, _ in results) == SUM
            shares.update(pid for _, pid in results)
            if len(shares) == 2:
                break
        print("every sum was right:", right)
        print("nodes that worked:", len(shares))
        print("they are those that were spawned:", set(shares) == set(workers.pids))


if __name__ == "__main__":
    main()
