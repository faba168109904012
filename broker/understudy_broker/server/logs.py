"""Lines of a broker's log: for people, or one JSON object each for programs."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final, TextIO, TypeAlias

from understudy_broker.server.server import Log

_COLORS: Final = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_PLAIN: Final = "\x1b[0m"

#: what a line says besides its text
Fields: TypeAlias = dict[str, Any]


class ForPrograms(logging.Formatter):
    """One JSON object in each line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            **_fields(record),
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "timestamp": _timestamp(record),
        }
        return json.dumps(line, default=repr)


class ForPeople(logging.Formatter):
    """Time, level, text, and fields as ``name=value``."""

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
    """A log that writes lines of `level` and above to `stream`.

    It is the logger ``understudy.broker``, which from here on has this one handler.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(ForPeople(colors=stream.isatty()) if for_people else ForPrograms())
    logger = logging.getLogger("understudy.broker")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())
    levels = logging.getLevelNamesMapping()

    def log(level: str, text: str, fields: Fields) -> None:
        logger.log(levels[level.upper()], "%s", text, extra={"fields": fields})

    return log


def _fields(record: logging.LogRecord) -> Fields:
    fields: Fields = getattr(record, "fields", {})
    return fields


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
    return moment.replace("+00:00", "Z")


def _shown(value: object) -> str:
    """As it is where it is one printable word, else quoted: no value makes a line of its own."""
    text = str(value)
    return text if text.isprintable() and " " not in text and text else repr(text)
