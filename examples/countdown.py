"""A durable sleep: one process starts a countdown, and another one finishes it.

`ctx.sleep` is a promise with a deadline in the store. It occupies no thread and no process, and its
time passes even if nothing runs. Here the first runtime stops after "2"; the second one opens the
same file and continues from there. Each number is printed in a step (`ctx.run`), whose result is
stored, so no number is printed again.

Run it with ``python examples/countdown.py``.
"""

import tempfile
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

from understudy import Context, Runtime

#: The pause between two numbers, in seconds.
PAUSE_S = 0.5

printed_two = threading.Event()


def countdown(ctx: Context, start: int) -> Generator[Any, Any, str]:
    for number in range(start, 0, -1):
        yield ctx.run(print_number, number)
        yield ctx.sleep(PAUSE_S)
    return "Lift-off!"


def print_number(_: Context, number: int) -> None:
    print(f"{number} ...")
    if number == 2:
        printed_two.set()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder, "countdown.db"))

        first = Runtime.local(store)
        first.register(countdown)
        with first:
            first.rpc("countdown-1", countdown, 4)
            printed_two.wait()
        print("(the first runtime has stopped)")

        second = Runtime.local(store)
        second.register(countdown)
        with second:
            print("(a second runtime has opened the store)")
            print(second.get("countdown-1").result(timeout=30))


if __name__ == "__main__":
    main()
