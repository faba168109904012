"""The broker's log: lines for people, or one JSON object in each line for programs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TextIO, TypeAlias

from understudy_broker.log_format import ForPeople, ForPrograms

#: details of a line, beside its text
Fields: TypeAlias = dict[str, object]
#: Writes a line: its level, its text and its fields.
Log: TypeAlias = Callable[[str, str, Fields], None]

_logger = logging.getLogger("understudy.broker")


def log_to_logging(level: str, text: str, fields: Fields) -> None:
    """Log to the standard library's logger ``understudy.broker``."""
    details = " ".join(f"{key}={value}" for key, value in fields.items())
    _logger.log(getattr(logging, level.upper()), "%s %s", text, details)


def make_log(stream: TextIO, *, for_people: bool, level: str) -> Log:
    """Return a log that writes lines of `level` and above to `stream`.

    It uses the logger ``understudy.broker``, which from here on has this one handler.

    Parameters
    ----------
    for_people
        Whether to write lines for people, instead of JSON.
    level
        debug, info, warning or error.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(ForPeople(colors=stream.isatty()) if for_people else ForPrograms())
    _logger.handlers = [handler]
    _logger.propagate = False
    _logger.setLevel(level.upper())
    levels = logging.getLevelNamesMapping()

    def log(level: str, text: str, fields: Fields) -> None:
        _logger.log(levels[level.upper()], "%s", text, extra={"fields": fields})

    return log
