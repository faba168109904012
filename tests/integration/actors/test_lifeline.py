"""The lifeline: children notice that their parent is gone."""

import os
import subprocess
import sys
import threading

from understudy_actors.processes.lifeline import LIFELINE_ENV, Lifeline, watch_lifeline


def test_eof_is_noticed_once_the_parent_lets_go() -> None:
    lifeline = Lifeline()
    noticed = threading.Event()
    environ = {LIFELINE_ENV: str(os.dup(lifeline.child_fd))}
    assert watch_lifeline(noticed.set, environ)
    assert not noticed.is_set()
    lifeline.close()
    assert noticed.wait(10)


def test_the_entry_is_used_up() -> None:
    lifeline = Lifeline()
    environ = {LIFELINE_ENV: str(os.dup(lifeline.child_fd)), "OTHER": "x"}
    gone = threading.Event()
    watch_lifeline(gone.set, environ)
    assert environ == {"OTHER": "x"}
    lifeline.close()
    assert gone.wait(10)


def test_without_a_lifeline_nothing_is_watched() -> None:
    assert not watch_lifeline(lambda: None, {})
    assert not watch_lifeline(lambda: None, {LIFELINE_ENV: "soon"})


def test_a_number_that_means_something_else_here_is_left_alone() -> None:
    with open(os.devnull) as other:  # noqa: PTH123 - an open file, of whatever kind
        assert not watch_lifeline(lambda: None, {LIFELINE_ENV: str(other.fileno())})
    assert not watch_lifeline(lambda: None, {LIFELINE_ENV: "999999"})


def test_closing_twice_is_no_error() -> None:
    lifeline = Lifeline()
    lifeline.close()
    lifeline.close()


_FORKED = """
import os, signal
from understudy_actors.processes.lifeline import Lifeline
lifeline = Lifeline()
child = os.fork()
if not child:
    signal.pause()
watched = os.dup(lifeline.child_fd)
lifeline.close()
assert os.read(watched, 1) == b""
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
"""


def test_a_forked_process_does_not_keep_the_line_alive() -> None:
    subprocess.run([sys.executable, "-c", _FORKED], check=True, timeout=20)
