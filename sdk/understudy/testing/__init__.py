"""Testing durable functions: time that skips, a crash at every step, replays of recorded calls.

Nothing here needs pytest; its fixtures are in `understudy.testing.fixtures`. ``import understudy``
loads none of it.
"""

from understudy.testing.clock import Clock
from understudy.testing.crash_report import CrashReport, CrashTestError, Repeated
from understudy.testing.crashes import crash_everywhere
from understudy.testing.histories import History, HistoryError, record
from understudy.testing.replays import Replayed, replay
from understudy.testing.stage import Stage, StuckError

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
