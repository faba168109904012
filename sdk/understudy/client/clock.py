"""This machine's clock, until a broker's clock is known."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Return the time in epoch milliseconds."""
    return time.time_ns() // 1_000_000
