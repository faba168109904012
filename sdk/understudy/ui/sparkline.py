"""Sparklines: small drawings of how a number went. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

WIDTH: Final = 240.0
HEIGHT: Final = 40.0


class Sparkline(NamedTuple):
    """A drawing of numbers over time.

    Attributes
    ----------
    line, area
        The path of the line, and that of what is below it; empty if there are too few numbers.
    top
        The number at the upper edge.
    """

    line: str
    area: str
    top: float


def sparkline(numbers: Sequence[float], count: int | None = None) -> Sparkline:
    """Draw numbers from left to right; the newest one is at the right edge.

    Parameters
    ----------
    count
        How many numbers have room; by default so many as there are.

    Examples
    --------
    >>> sparkline([0, 10, 5], 3).line
    'M0 39 L120 2 L240 20.5'
    """
    top = max(numbers, default=0.0)
    if len(numbers) < 2:
        return Sparkline("", "", top)
    room = max(2, count or len(numbers))
    step = WIDTH / (room - 1)
    first = WIDTH - step * (len(numbers) - 1)
    points = [
        (first + step * place, HEIGHT - 1 - (HEIGHT - 3) * (number / top if top else 0.0))
        for place, number in enumerate(numbers)
    ]
    line = "M" + " L".join(f"{x:.4g} {y:.4g}" for x, y in points)
    area = f"{line} L{WIDTH:g} {HEIGHT:g} L{first:.4g} {HEIGHT:g} Z"
    return Sparkline(line, area, top)
