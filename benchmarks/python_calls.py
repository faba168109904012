"""Python function calls per call of a plain leaf on `Runtime.local()`, by package and by function.

``python -m benchmarks.python_calls`` prints two tables. The number of Python calls is a measure
that a busy machine does not disturb: it says whether a change has made the path of a call shorter.

A profile function counts in every thread of the process. It sees the start of each Python function
and each resumption of a generator or coroutine; C functions are not counted.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final, TypeAlias

from rich.console import Console
from rich.table import Table

import understudy
import understudy_actors
import understudy_broker
import understudy_store
from understudy import Context, Runtime

#: The packages of this project, by the name that the table shows.
PACKAGES: Final = {
    "broker": understudy_broker,
    "store": understudy_store,
    "actors": understudy_actors,
    "sdk": understudy,
}
#: A function: its file, and its name in it.
Function: TypeAlias = tuple[str, str]

WARM_UP_CALLS: Final = 200
CALLS: Final = 500
TOP_MAX: Final = 30


class CallCounter:
    """Counts Python calls by function in all threads that start after `install`.

    Each thread counts for itself, so that no update is lost to a switch of threads.
    """

    def __init__(self) -> None:
        self._local = threading.local()
        self._counters: list[Counter[Function]] = []
        self._counting = False

    def install(self) -> None:
        """Begin to observe this thread and those that it starts."""
        threading.setprofile(self._on_event)
        sys.setprofile(self._on_event)

    def remove(self) -> None:
        """Stop observing this thread and those that it starts from here on."""
        sys.setprofile(None)
        threading.setprofile(None)

    def start(self) -> None:
        """Count from zero."""
        for counter in self._counters:
            counter.clear()
        self._counting = True

    def stop(self) -> Counter[Function]:
        """Stop counting, and return the sums of all threads."""
        self._counting = False
        total: Counter[Function] = Counter()
        for counter in self._counters:
            total.update(counter)
        return total

    def _on_event(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event != "call" or not self._counting:
            return
        counter: Counter[Function] | None = getattr(self._local, "counter", None)
        if counter is None:
            counter = self._local.counter = Counter()
            self._counters.append(counter)
        code = frame.f_code
        counter[code.co_filename, qualified_name(code)] += 1


def package_of(filename: str, roots: dict[str, str]) -> str | None:
    """Return the name of the package that `filename` is in; None if it is in none of `roots`.

    Parameters
    ----------
    roots
        Folders by the name of their package, each with a separator at its end.
    """
    for name, root in roots.items():
        if filename.startswith(root):
            return name
    return None


def by_package(
    counts: Counter[Function], roots: dict[str, str], calls: int
) -> tuple[dict[str, float], list[tuple[str, str, float]]]:
    """Sum the counts by package, and list the functions that were called most.

    Returns
    -------
    Python calls for each call by package, in the order of `roots`; and (package, function, Python
    calls for each call), the most frequent first.
    """
    sums = dict.fromkeys(roots, 0.0)
    functions: Counter[Function] = Counter()
    for (filename, name), count in counts.items():
        package = package_of(filename, roots)
        if package is None:
            continue
        sums[package] += count / calls
        module = filename[len(roots[package]) :].removesuffix(".py")
        functions[package, f"{module}: {name}"] += count
    top = [(package, name, count / calls) for (package, name), count in functions.most_common()]
    return sums, top


def qualified_name(code: CodeType) -> str:
    """Return the name of a function with its class, as far as this version of Python knows it."""
    return getattr(code, "co_qualname", code.co_name)


def roots_of_packages() -> dict[str, str]:
    """Return the folders of `PACKAGES`, each with a separator at its end."""
    roots = {}
    for name, package in PACKAGES.items():
        assert package.__file__ is not None
        roots[name] = f"{Path(package.__file__).parent}/"
    return roots


def leaf(_: Context, number: int) -> int:
    """Return the argument: a function that costs nothing itself."""
    return number


def measure(calls: int = CALLS, warm_up_calls: int = WARM_UP_CALLS) -> Counter[Function]:
    """Make `calls` calls of a plain leaf one after the other, and count the Python calls."""
    counter = CallCounter()
    counter.install()
    try:
        with Runtime.local() as runtime:
            runtime.register(leaf)
            runtime.start()
            for number in range(warm_up_calls):
                runtime.rpc(f"warm-up-{number}", leaf, number)
            counter.start()
            for number in range(calls):
                runtime.rpc(f"counted-{number}", leaf, number)
            return counter.stop()
    finally:
        counter.remove()


def show(
    sums: dict[str, float],
    top: Iterable[tuple[str, str, float]],
    console: Console,
    top_max: int = TOP_MAX,
) -> None:
    """Print both tables."""
    packages = Table("package", "Python calls per call")
    for name, count in sums.items():
        packages.add_row(name, f"{count:.1f}")
    packages.add_row("all", f"{sum(sums.values()):.1f}")
    console.print(packages)
    functions = Table("package", "function", "per call")
    for _, (package, name, count) in zip(range(top_max), top, strict=False):
        functions.add_row(package, name, f"{count:.2f}")
    console.print(functions)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.python_calls", description=__doc__)
    parser.add_argument(
        "--calls", type=int, default=CALLS, help=f"calls to make [default: {CALLS}]"
    )
    parser.add_argument(
        "--top", type=int, default=TOP_MAX, help=f"functions to show [default: {TOP_MAX}]"
    )
    parser.add_argument("--package", choices=PACKAGES, help="show only functions of this package")
    given = parser.parse_args()
    sums, top = by_package(measure(given.calls), roots_of_packages(), given.calls)
    shown = [row for row in top if given.package in (None, row[0])]
    show(sums, shown, Console(width=110), given.top)


if __name__ == "__main__":
    main()
