"""Ctrl-C while the command line starts, and while it ends.

Half of a short command is importing. An interrupt there would be a traceback out of some module;
or worse, it would fall into a callback of the import system, or into a library that takes it for
an error of its own, and be lost. There is nothing to tidy up yet: the process just ends. A command
takes interrupts over, by `hand_over`, once it has imported what it needs.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

from understudy.cli import EXIT_INTERRUPTED


def leave_at_once() -> None:
    """From now on SIGINT ends the process, with nothing said; unless it is ignored or handled."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def hand_over() -> None:
    """From now on SIGINT is a `KeyboardInterrupt` again."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(EXIT_INTERRUPTED)
