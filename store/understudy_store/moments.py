"""Moments as text, for messages and logs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: the last second that a `datetime` can hold, in milliseconds
_DATE_MS_MAX: Final = 253_402_300_799_000


def moment(epoch_ms: int) -> str:
    """Return a time as text: ``2026-01-31 12:00:00 UTC``."""
    if not 0 <= epoch_ms <= _DATE_MS_MAX:
        return f"{epoch_ms} ms after 1970"
    return f"{_EPOCH + timedelta(milliseconds=epoch_ms):%Y-%m-%d %H:%M:%S} UTC"
