"""Signals that stop: which are handled, which count again, and those of forked processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest

from understudy_broker.process import SAME_REQUEST_S, StopSignals, is_repeated, signals_to_handle

FORKS = """
import os, signal, time
from understudy_broker.process import StopSignals

def on_stop():
    raise SystemExit("the parent was asked to stop")

with StopSignals(on_stop):
    for _ in range(300):
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        os.kill(pid, signal.SIGTERM)  # at once, so that some come before the child runs Python
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
"""


def test_a_child_ends_at_a_signal_that_comes_right_after_the_fork() -> None:
    subprocess.run([sys.executable, "-c", FORKS], check=True, timeout=60)


@pytest.mark.parametrize(
    ("action", "handled"),
    [(signal.SIG_DFL, True), (signal.SIG_IGN, False), (lambda *_: None, False)],
    ids=["default", "ignored", "own"],
)
def test_a_hangup_counts_if_it_has_its_default_action(action: Any, handled: bool) -> None:
    before = signal.signal(signal.SIGHUP, action)
    try:
        assert (signal.SIGHUP in signals_to_handle()) is handled
        with StopSignals(lambda: None):
            assert (signal.getsignal(signal.SIGHUP) == action) is not handled
        assert signal.getsignal(signal.SIGHUP) == action
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("number", "first", "after_s", "repeated"),
    [
        (signal.SIGTERM, signal.SIGTERM, 0.5 * SAME_REQUEST_S, True),
        (signal.SIGTERM, signal.SIGTERM, 2 * SAME_REQUEST_S, False),
        (signal.SIGINT, signal.SIGTERM, 0.5 * SAME_REQUEST_S, False),
        (signal.SIGHUP, signal.SIGHUP, 2 * SAME_REQUEST_S, True),
        (signal.SIGHUP, signal.SIGINT, 2 * SAME_REQUEST_S, True),
        (signal.SIGTERM, signal.SIGHUP, 0.5 * SAME_REQUEST_S, False),
    ],
)
def test_which_signal_is_a_second_request(
    number: int, first: int, after_s: float, repeated: bool
) -> None:
    assert is_repeated(number, first, after_s) is repeated
