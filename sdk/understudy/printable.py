"""Text in which nothing commands the terminal, for logs and for what commands print. Pure."""

from __future__ import annotations

import re
from typing import Final

#: Control characters but for tab and line feed; those that change the direction of text, or break
#: lines, or are not seen. The joiners of scripts and emoji (U+200C, U+200D) are left alone.
COMMANDS: Final = re.compile(
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
    return COMMANDS.sub(_escape, text)


def printable_line(text: str) -> str:
    r"""The same for what must be one line, so that no name can look like another line.

    Examples
    --------
    >>> printable_line("a\nb")
    'a\\nb'
    """
    return printable(text.replace("\t", "\\t").replace("\n", "\\n"))


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
