"""The counter of Python calls counts each call once, in all threads, and sorts it by package."""

from __future__ import annotations

import threading
from collections import Counter

from benchmarks.python_calls import CallCounter, by_package, package_of

ROOTS = {"broker": "/src/understudy_broker/", "sdk": "/src/understudy/"}


def counted() -> None:
    """Do nothing."""


def call_three_times() -> None:
    for _ in range(3):
        counted()


def test_calls_of_all_threads_are_counted_between_start_and_stop() -> None:
    counter = CallCounter()
    counter.install()
    try:
        counted()
        counter.start()
        counted()
        thread = threading.Thread(target=call_three_times)
        thread.start()
        thread.join()
        found = counter.stop()
        counted()
    finally:
        counter.remove()
    assert found[__file__, "counted"] == 4
    assert found[__file__, "call_three_times"] == 1


def test_a_second_start_counts_from_zero() -> None:
    counter = CallCounter()
    counter.install()
    try:
        counter.start()
        counted()
        counter.start()
        counted()
        assert counter.stop()[__file__, "counted"] == 1
    finally:
        counter.remove()


def test_a_file_belongs_to_the_package_whose_folder_it_is_in() -> None:
    assert package_of("/src/understudy_broker/core/core.py", ROOTS) == "broker"
    assert package_of("/src/understudy/runtime.py", ROOTS) == "sdk"
    assert package_of("/usr/lib/python3/threading.py", ROOTS) is None


def test_counts_are_summed_by_package_and_divided_by_the_calls() -> None:
    step = ("/src/understudy_broker/core/core.py", "step")
    rpc = ("/src/understudy/runtime.py", "rpc")
    other = ("/usr/lib/python3/threading.py", "wait")
    sums, top = by_package(Counter({step: 30, rpc: 5, other: 99}), ROOTS, 10)
    assert sums == {"broker": 3.0, "sdk": 0.5}
    assert top == [("broker", "core/core: step", 3.0), ("sdk", "runtime: rpc", 0.5)]
