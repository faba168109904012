"""This machine's clock, for deadlines that calls ask for; the broker's is the one that decides."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000
