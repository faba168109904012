"""Numbers that every program shows of itself: its version, and when it was started."""

from __future__ import annotations

import time
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from understudy_broker.monitoring.exposition import Family, numbers_text

BUILD_INFO: Final = Family(
    "understudy_build_info", "gauge", "Always 1; the label says which version runs.", ("version",)
)
START_TIME: Final = Family(
    "understudy_start_time_seconds", "gauge", "When this program began, in seconds since 1970."
)
FAMILIES: Final = (BUILD_INFO, START_TIME)

_STARTED_AT: Final = time.time()


@lru_cache(maxsize=1)
def installed_version() -> str:
    """Return the version of understudy that is installed."""
    try:
        return version("understudy")
    except PackageNotFoundError:
        return "unknown"


def process_text() -> str:
    """Return the families that every program shows."""
    return numbers_text(BUILD_INFO, {(installed_version(),): 1}) + numbers_text(
        START_TIME, {(): round(_STARTED_AT, 3)}
    )
