"""The command line: ``understudy``.

Each command is a module in `commands`, imported only when it is run, so that a broker or a node
does not carry the others along. Importing this package imports nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

#: 128 + SIGINT
EXIT_INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv
        The words after ``understudy``; by default those of this process.

    Returns
    -------
    The exit code: 0 for success, 1 for a failure, 2 for wrong usage, 3 for what the broker refuses,
    4 if none answers, 130 after SIGINT, 143 after SIGTERM and 129 after SIGHUP.
    """
    if os.getpid() == 1:
        from understudy.processes.init import become_init

        become_init()
    try:
        from understudy.cli.app import run

        return run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        # A command that needs time to stop handles signals itself. The others have nothing to stop,
        # nor have the imports.
        return EXIT_INTERRUPTED
