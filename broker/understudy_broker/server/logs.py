"""The broker's log: lines for people, or one JSON object in each line for programs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TextIO, TypeAlias

_COLORS: Final = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_PLAIN: Final = "\x1b[0m"

#: details of a line, beside its text
Fields: TypeAlias = dict[str, object]
#: Writes a line: its level, its text and its fields.
Log: TypeAlias = Callable[[str, str, Fields], None]

_logger = logging.getLogger("understudy.broker")


def log_to_logging(level: str, text: str, fields: Fields) -> None:
    """Log to the standard library's logger ``understudy.broker``."""
    details = " ".join(f"{key}={value}" for key, value in fields.items())
    _logger.log(getattr(logging, level.upper()), "%s %s", text, details)


class ForPrograms(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            **_fields(record),
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "timestamp": _timestamp(record),
        }
        return json.dumps(line, default=repr)


class ForPeople(logging.Formatter):
    """Formats a record as time, level, text, and fields as ``name=value``."""

    def __init__(self, *, colors: bool) -> None:
        super().__init__()
        self._colors = colors

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        shown = f"{level:<8}"
        if self._colors and level in _COLORS:
            shown = f"{_COLORS[level]}{shown}{_PLAIN}"
        values = [f"{name}={_shown(value)}" for name, value in _fields(record).items()]
        return " ".join([_timestamp(record), f"[{shown}]", record.getMessage(), *values])


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


def _fields(record: logging.LogRecord) -> Fields:
    fields: Fields = getattr(record, "fields", {})
    return fields


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
    return moment.replace("+00:00", "Z")


def _shown(value: object) -> str:
    """Return a value as text, quoted unless it is one printable word: it cannot break the line."""
    text = str(value)
    return text if text.isprintable() and " " not in text and text else repr(text)
