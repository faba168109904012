"""Printing for commands: text in which nothing commands the terminal.

Names, tags, values and messages come from whoever may call. A terminal would obey escape sequences
in them: set its title, clear the screen, write over other lines. So all that is printed goes
through `printable`; ``print`` itself is used nowhere else in the command line.
"""

from __future__ import annotations

import re
import sys
from typing import Final

from understudy.cli.colors import paint_lines

#: Control characters but for tab and line feed; those that change the direction of text, or break
#: lines, or are not seen. The joiners of scripts and emoji (U+200C, U+200D) are left alone.
_COMMANDS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    r"""Return a text with escapes in the place of characters that terminals obey or do not show.

    Examples
    --------
    >>> printable("all is \x1b[31mwell")
    'all is \\x1b[31mwell'
    """
    return _COMMANDS.sub(_escape, text)


def printable_line(text: str) -> str:
    r"""The same for what must be one line, so that no name can look like another line.

    Examples
    --------
    >>> printable_line("a\nb")
    'a\\nb'
    """
    return printable(text.replace("\t", "\\t").replace("\n", "\\n"))


def printable_json(text: str) -> str:
    r"""The same for JSON, whose data stay the same.

    Examples
    --------
    >>> printable_json('"order\u202e7"')
    '"order\\u202e7"'
    """
    return _COMMANDS.sub(_json_escape, text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


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
