"""Colors of states, on a terminal.

``--no-color`` and NO_COLOR (https://no-color.org) turn them off; FORCE_COLOR turns them on where
there is no terminal.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Final

#: whether ``--no-color`` was given
forbidden: bool = False

_RED, _GREEN, _YELLOW, _BLUE = 31, 32, 33, 34
#: Words to colors. Bad news is red, what needs a person or a node is yellow.
_COLORS: Final = {
    "resolved": _GREEN,
    "fulfilled": _GREEN,
    "rejected": _RED,
    "timedout": _RED,
    "canceled": _YELLOW,
    "halted": _YELLOW,
    "parked": _YELLOW,
    "queued": _YELLOW,
    "running": _BLUE,
}
_WORD: Final = re.compile(rf"(?<= )(?:{'|'.join(_COLORS)})(?=$| )")


def enabled() -> bool:
    """Return whether standard output gets colors."""
    if forbidden or os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def paint(line: str) -> str:
    """Color the first state that a line of a table or a tree names, if there are to be colors."""
    if not enabled():
        return line
    return _WORD.sub(lambda found: f"\033[{_COLORS[found[0]]}m{found[0]}\033[0m", line, count=1)


def paint_lines(text: str) -> str:
    """Color each line of a text."""
    return "\n".join(map(paint, text.split("\n"))) if enabled() else text
