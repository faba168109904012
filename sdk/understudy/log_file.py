"""The file to which the processes of a deployment add their log lines, as JSON.

All of them add to one file, each a whole line at a time. One of them, or a program as logrotate,
puts the file away under another name once it is large; the others begin a new one with their next
line.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Final

#: bytes at which a file is put away
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
#: files that were put away, of which each has a number more than the one after it
PUT_AWAY: Final = 3


class LogFile(WatchedFileHandler):
    """Adds lines to a file that other processes add to as well, and that may be put away.

    Parameters
    ----------
    path
        Made for its owner alone if it is not there.

    Raises
    ------
    OSError
        It cannot be written to.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=_private)

    def emit(self, record: logging.LogRecord) -> None:
        """Add the line of a record; never raises, as whoever logs is not to fail by that."""
        # The class opens a file that was put away outside of what it guards.
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Do nothing: of a full disk the terminal need not be told with each line, which it has."""


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def put_away(path: Path, bytes_max: int = FILE_BYTES_MAX) -> bool:
    """Put a file away, as PATH.1, if it is large; the one that was PATH.3 is gone then.

    Returns
    -------
    Whether it was large.
    """
    with suppress(OSError):
        if path.stat().st_size < bytes_max:
            return False
        for number in range(PUT_AWAY, 1, -1):
            with suppress(FileNotFoundError):
                _numbered(path, number - 1).replace(_numbered(path, number))
        path.replace(_numbered(path, 1))
        return True
    return False


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
