"""Nodes from a script: one program, several processes.

`runtime.spawn` starts the nodes of a group and sends them the functions that are registered here,
with cloudpickle, so the functions may be defined in this script. Calls to the group go to any node
that has room. A node that dies is restarted, and its calls continue elsewhere. All nodes stop with
this script.

Run it with ``python examples/spawn_nodes.py``.
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
    all_correct = True
    with runtime:
        workers = runtime.spawn("workers", nodes=2)
        # Repeated, because one node may be ready some time before the other.
        for number in count(1):
            results = runtime.rpc(f"spread-{number}", spread).result(timeout=60)
            all_correct = all_correct and sum(square for square, _ in results) == SUM
            shares.update(pid for _, pid in results)
            if len(shares) == 2:
                break
        print("every sum was correct:", all_correct)
        print("nodes that worked:", len(shares))
        print("they are the spawned ones:", set(shares) == set(workers.pids))


if __name__ == "__main__":
    main()
