"""Warnings about code that has held the interpreter."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from understudy_actors.executor.stall_watch import StallWatch, current_line, processor_s


class Stalls:
    """A watch over two threads, with a clock and a use of the processor that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.used = {"busy": 5.0, "quiet": 7.0}
        self.go = threading.Event()
        self.threads: list[threading.Thread] = []
        for name in self.used:
            self.start(name)
        self.watch = StallWatch(
            lambda: self.threads, 2.0, clock=lambda: self.now, used_s=lambda t: self.used[t.name]
        )
        self.watch.begin()

    def start(self, name: str) -> None:
        thread = threading.Thread(target=self.function, name=name)
        thread.start()
        self.threads.append(thread)

    def function(self) -> None:
        self.go.wait(20)

    def look(self, passed_s: float) -> str | None:
        self.now += passed_s
        return self.watch.look(1.0)


@pytest.fixture
def stalls() -> Iterator[Stalls]:
    stalls = Stalls()
    yield stalls
    stalls.go.set()
    for thread in stalls.threads:
        thread.join(10)


def test_a_look_on_time_says_nothing(stalls: Stalls) -> None:
    stalls.used["busy"] += 1.0
    assert stalls.look(1.0) is None
    assert stalls.look(2.9) is None


def test_the_line_of_the_busiest_thread_is_named(stalls: Stalls) -> None:
    stalls.used["busy"] += 11.5
    stalls.used["quiet"] += 0.1
    warning = stalls.look(13.0)
    assert warning is not None
    assert "has held the interpreter for 12.0 s" in warning
    assert f"{__file__}:" in warning
    assert "in Stalls.function" in warning
    assert stalls.look(1.0) is None, "it is said once"


def test_what_was_used_before_the_last_look_does_not_count(stalls: Stalls) -> None:
    stalls.used["busy"] += 50.0
    assert stalls.look(1.0) is None
    warning = stalls.look(11.0)
    assert warning is not None
    assert "it was stopped, or code in C held the interpreter" in warning
    assert "in Stalls.function" in warning


def test_a_thread_that_was_started_meanwhile_is_seen(stalls: Stalls) -> None:
    stalls.used["new"] = 10.0
    stalls.start("new")
    warning = stalls.look(11.0)
    assert warning is not None
    assert "has held the interpreter for 10.0 s" in warning


def test_time_without_functions_is_no_stall(stalls: Stalls) -> None:
    stalls.now += 1000
    stalls.watch.begin()
    assert stalls.look(1.0) is None


def test_a_thread_outside_of_every_function_has_no_line() -> None:
    thread = threading.Thread(target=threading.Event().wait, args=(0,))
    thread.start()
    thread.join(10)
    assert current_line(thread) is None


def test_the_processor_time_of_a_thread_grows_with_its_work() -> None:
    before = processor_s(threading.current_thread())
    while processor_s(threading.current_thread()) == before:
        sum(range(1000))


def test_a_thread_that_has_ended_uses_no_processor() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert processor_s(thread) == 0
