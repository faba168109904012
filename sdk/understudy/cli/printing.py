"""Printing for commands: text in which nothing commands the terminal.

Names, tags, values and messages come from whoever may call. A terminal would obey escape sequences
in them: set its title, clear the screen, write over other lines. So all that is printed goes
through `printable`; ``print`` itself is used nowhere else in the command line.
"""

from __future__ import annotations

import re
import sys

from understudy.cli.colors import paint_lines
from understudy.printable import COMMANDS, printable, printable_line

__all__ = ["err", "out", "out_painted", "printable", "printable_json", "printable_line"]


def printable_json(text: str) -> str:
    r"""The same for JSON, whose data stay the same.

    Examples
    --------
    >>> printable_json('"order\u202e7"')
    '"order\\u202e7"'
    """
    return COMMANDS.sub(_json_escape, text)


def _json_escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def out(text: str = "", *, flush: bool = False) -> None:
    """Print a text to standard output."""
    print(printable(text), flush=flush)


def out_painted(text: str) -> None:
    """Print the lines of a table or a tree to standard output, with colors on a terminal."""
    print(paint_lines(printable(text)))


def err(text: str, *, flush: bool = False) -> None:
    """Print a text to standard error."""
    print(printable(text), file=sys.stderr, flush=flush)
