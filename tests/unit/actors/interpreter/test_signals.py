"""Signals between a run and its node: what is canceled stays so, and everybody hears of it once."""

from __future__ import annotations

import queue
import threading

from understudy_actors.interpreter.signals import Signals, is_canceled, signals_of


class Run:
    signals: Signals | None = None


def test_a_run_has_none_until_somebody_needs_them() -> None:
    run = Run()
    assert not is_canceled(run)
    assert run.signals is None
    signals = signals_of(run)
    assert signals_of(run) is signals
    assert not is_canceled(run)
    signals.cancel()
    assert is_canceled(run)


def test_a_wait_ends_with_its_time_or_at_the_cancel() -> None:
    signals = Signals()
    assert not signals.wait(0)
    results: queue.Queue[bool] = queue.Queue()
    waiters = [
        threading.Thread(target=lambda: results.put(signals.wait(30)), daemon=True)
        for _ in range(3)
    ]
    for waiter in waiters:
        waiter.start()
    signals.cancel()
    assert [results.get(timeout=10) for _ in waiters] == [True] * 3
    assert signals.wait(None), "and once it is canceled, nobody waits"


def test_who_waits_first_after_the_cancel_does_not_wait() -> None:
    signals = Signals()
    signals.cancel()
    assert signals.wait(None)


def test_a_callback_is_called_on_a_thread_of_its_own_and_once() -> None:
    signals = Signals()
    called: queue.Queue[threading.Thread] = queue.Queue()
    with signals.calling(lambda: called.put(threading.current_thread())):
        signals.cancel()
        signals.cancel()
        assert called.get(timeout=10) is not threading.current_thread()
    with signals.calling(lambda: called.put(threading.current_thread())):
        assert called.get(timeout=10) is not threading.current_thread()
    assert called.empty()


def test_a_callback_is_not_called_after_its_block() -> None:
    signals = Signals()
    called: list[int] = []
    with signals.calling(lambda: called.append(1)):
        pass
    signals.cancel()
    assert signals.wait(0)
    assert not called
