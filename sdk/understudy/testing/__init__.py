"""Tests of durable functions: a clock that skips waiting, crash tests, replays of recorded calls.

`Stage` runs calls without a broker, `crash_everywhere` kills the node at every step, `record` and
`replay` check changed code against recorded calls. None of them needs pytest, for which there are
fixtures in `understudy.testing.fixtures`. ``import understudy`` loads none of this.
"""

from understudy.testing.clock import Clock
from understudy.testing.crash_report import CrashReport, CrashTestError, Repeated
from understudy.testing.crashes import crash_everywhere
from understudy.testing.driver import StuckError
from understudy.testing.histories import History, HistoryError, record
from understudy.testing.replays import Replayed, replay
from understudy.testing.stage import Stage

__all__ = [
    "Clock",
    "CrashReport",
    "CrashTestError",
    "History",
    "HistoryError",
    "Repeated",
    "Replayed",
    "Stage",
    "StuckError",
    "crash_everywhere",
    "record",
    "replay",
]
