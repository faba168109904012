"""A process that waits for the request to stop, which its main thread has to notice."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from tests.support import eventually
from understudy.processes.signals import stop_at_signal

#: A process in which another thread than the main one receives a signal, while the main one sleeps.
STRUCK_ASIDE = """
import signal, threading, time
from pathlib import Path
from understudy.processes.signals import stop_at_signal

def strike(main):
    asleep = 0
    while asleep < 20:
        state = Path(f"/proc/self/task/{main}/stat").read_text().rpartition(")")[2].split()[0]
        asleep = asleep + 1 if state == "S" else 0
        time.sleep(0.005)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    threading.Event().wait()

with stop_at_signal() as stop:
    threading.Thread(target=strike, args=(threading.get_native_id(),), daemon=True).start()
    stop.wait()
    print(stop.signal)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_signal_that_another_thread_receives_stops_the_process() -> None:
    # As when two signals come at once: Ctrl-C at a terminal, and the supervisor's.
    ran = subprocess.run(
        [sys.executable, "-c", STRUCK_ASIDE], capture_output=True, text=True, timeout=30
    )
    assert (ran.stdout, ran.stderr) == (f"{signal.SIGTERM:d}\n", "")


def test_any_thread_may_ask_and_wait() -> None:
    with stop_at_signal() as outer:
        waiting = threading.Thread(target=outer.wait)
        waiting.start()
        outer.set()
        eventually(lambda: not waiting.is_alive())
        outer.wait()
    assert outer.signal == 0
    outer.set()
    assert signal.set_wakeup_fd(-1) == -1, "nothing is left behind"
