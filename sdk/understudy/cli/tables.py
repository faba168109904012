"""Tables of text that fit their terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Final

#: No column is made narrower than this, nor any that is narrower by itself.
LEAST_WIDTH: Final = 12
_GAP: Final = 2


def terminal_width() -> int | None:
    """Return the columns of the terminal that standard output is; None if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    width: int | None = None,
    elastic: Sequence[str] = (),
) -> str:
    """Align columns, two spaces apart; None is shown as a dash.

    Parameters
    ----------
    width
        Columns of the terminal. Cells of the elastic columns are cut where lines would be longer.
    elastic
        Headers of the columns that may be cut, the first ones first. Ids and names are not among
        them, because people copy them.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    if width is not None:
        _shrink(widths, [headers.index(header) for header in elastic], width)
    lines = []
    for row in ([*headers], *cells):
        padded = (
            _cut(text, columns).ljust(columns) for text, columns in zip(row, widths, strict=True)
        )
        lines.append((" " * _GAP).join(padded).rstrip())
    return "\n".join(lines)


def _shrink(widths: list[int], elastic: Sequence[int], width: int) -> None:
    """Make columns narrower, one after the other, until the lines fit or nothing can give way."""
    excess = sum(widths) + _GAP * (len(widths) - 1) - width
    for column in elastic:
        if excess <= 0:
            return
        taken = min(excess, max(0, widths[column] - LEAST_WIDTH))
        widths[column] -= taken
        excess -= taken


def _cut(text: str, columns: int) -> str:
    return text if len(text) <= columns else f"{text[: columns - 1]}…"


def _cell(value: object) -> str:
    return "-" if value is None else " ".join(str(value).splitlines())
