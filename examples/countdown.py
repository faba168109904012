"""A durable sleep: the process goes away in the middle of a countdown, and the next one ends it.

`ctx.sleep` is a promise with a deadline in the store. It holds no thread and no process, and it
runs on while nobody is there. Here the first runtime stops after "2"; the second one opens the same
file and goes on from there. Saying a number is a step (`ctx.run`), stored once: none is said twice.
"""

import tempfile
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

from understudy import Context, Runtime

SECOND_S = 0.5


said_two = threading.Event()


def countdown(ctx: Context, start: int) -> Generator[Any, Any, str]:
    for number in range(start, 0, -1):
        yield ctx.run(say, number)
        yield ctx.sleep(SECOND_S)
    return "Lift-off!"


def say(_: Context, number: int) -> None:
    print(f"{number} ...")
    if number == 2:
        said_two.set()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder, "countdown.db"))

        first = Runtime.local(store)
        first.register(countdown)
        with first:
            first.rpc("countdown-1", countdown, 4)
            said_two.wait()
        print("(the process is gone)")

        second = Runtime.local(store)
        second.register(countdown)
        with second:
            print("(another one has opened the store)")
            print(second.get("countdown-1").result(timeout=30))


if __name__ == "__main__":
    main()
