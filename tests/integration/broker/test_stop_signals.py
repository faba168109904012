"""Signals of processes that are forked from one that serves."""

from __future__ import annotations

import subprocess
import sys

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
