"""The command line: ``understudy``.

One module per family of commands, imported only when it is asked for, so that a broker or a node
does not carry the others along. Importing this package imports nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

#: 128 + SIGINT
EXIT_INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0 done, 1 failed, 2 wrong usage, 130 and 143 ended by SIGINT and SIGTERM.
    """
    try:
        from understudy.cli.app import run

        return run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        # while it was still being imported: there is nothing to tidy up, and nothing to tell
        return EXIT_INTERRUPTED
