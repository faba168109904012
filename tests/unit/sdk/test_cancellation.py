"""Functions that wait for their own cancellation, on their threads."""

from __future__ import annotations

import queue
import threading

from understudy.cancellation import calling, signals_of, wait_canceled
from understudy_actors.interpreter.signals import Signals, cancel


class Run:
    canceled = False
    signals: Signals | None = None


def test_signals_are_made_once() -> None:
    run, found = Run(), queue.Queue[Signals]()
    threads = [threading.Thread(target=lambda: found.put(signals_of(run))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert len({id(found.get(timeout=10)) for _ in threads}) == 1


def test_a_wait_ends_with_its_time_or_at_the_cancel() -> None:
    run, results = Run(), queue.Queue[bool]()
    assert not wait_canceled(run, 0)
    waiters = [
        threading.Thread(target=lambda: results.put(wait_canceled(run, 30)), daemon=True)
        for _ in range(3)
    ]
    for waiter in waiters:
        waiter.start()
    cancel(run)
    assert [results.get(timeout=10) for _ in waiters] == [True] * 3
    assert wait_canceled(run, 30), "and once it is canceled, nobody waits"
    assert run.signals is None or not run.signals.callbacks


def test_a_callback_is_called_on_a_thread_of_its_own_and_once() -> None:
    run, called = Run(), queue.Queue[threading.Thread]()

    def callback() -> None:
        called.put(threading.current_thread())

    with calling(run, callback):
        cancel(run)
        cancel(run)
        assert called.get(timeout=10) is not threading.current_thread()
    with calling(run, callback):
        assert called.get(timeout=10) is not threading.current_thread()
    assert called.empty()


def test_a_callback_is_not_called_after_its_block() -> None:
    run, called = Run(), list[int]()
    with calling(run, lambda: called.append(1)):
        pass
    cancel(run)
    assert not called
