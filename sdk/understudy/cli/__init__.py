"""The command line: ``understudy``.

One module per family of commands, imported only when it is asked for, so that a broker or a node
does not carry the others along. Importing this package imports nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0 done, 1 failed, 2 wrong usage, 130 and 143 ended by SIGINT and SIGTERM.
    """
    from understudy.cli.app import run

    return run(list(sys.argv[1:] if argv is None else argv))
