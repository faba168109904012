"""Signals between a run and its node: what is canceled stays so, and everybody hears of it once."""

from __future__ import annotations

from functools import partial

from understudy_actors.interpreter.signals import Signals, call_when_canceled, cancel


class Run:
    canceled = False
    signals: Signals | None = None


def test_a_function_that_does_not_listen_is_canceled_all_the_same() -> None:
    run = Run()
    cancel(run)
    assert run.canceled
    assert run.signals is None


def test_a_callback_is_called_once() -> None:
    run, called = Run(), list[int]()
    run.signals = Signals()
    for number in (1, 2):
        call_when_canceled(run, run.signals, partial(called.append, number))
    assert not called
    cancel(run)
    cancel(run)
    assert called == [1, 2]


def test_a_callback_of_a_canceled_run_is_called_at_once() -> None:
    run, called = Run(), list[int]()
    cancel(run)
    run.signals = Signals()
    call_when_canceled(run, run.signals, lambda: called.append(1))
    assert called == [1]
    assert not run.signals.callbacks


def test_a_callback_that_was_removed_is_not_called() -> None:
    run, called = Run(), list[int]()
    run.signals = signals = Signals()

    def callback() -> None:
        called.append(1)

    call_when_canceled(run, signals, callback)
    assert signals.remove(callback)
    assert not signals.remove(callback)
    cancel(run)
    assert not called
