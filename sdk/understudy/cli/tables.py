"""Plain text for people: tables, durations, times."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from understudy.cli.digits import any_length


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns two spaces apart; None is shown as a dash."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    lines = []
    for row in ([*headers], *cells):
        padded = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _cell(value: object) -> str:
    return "-" if value is None else " ".join(str(value).splitlines())


def print_json(value: Any) -> None:
    with any_length():
        text = json.dumps(value, indent=2, ensure_ascii=False)
    print(text)


def duration(ms: int | float) -> str:
    """``840 ms``, ``1.2 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if ms < 1000:
        return f"{max(0, ms):.0f} ms"
    if ms < 60_000:
        return f"{int(ms / 100) / 10:g} s"
    seconds = int(ms / 1000)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if hours == 0:
        return f"{minutes} min {seconds % 60} s"
    if days == 0:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"


def moment(epoch_ms: int | None) -> str | None:
    """``2026-01-31 12:00:00`` in UTC."""
    if epoch_ms is None:
        return None
    return f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
