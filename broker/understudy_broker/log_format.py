"""The lines of logs: text for people, or one JSON object in each line for programs.

One setting counts for all processes: the environment variables UNDERSTUDY_LOG_FORMAT and
UNDERSTUDY_LOG_LEVEL, which the options ``--log-format`` and ``--log-level`` set for a process and
those that it starts.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

FORMAT_VARIABLE: Final = "UNDERSTUDY_LOG_FORMAT"
LEVEL_VARIABLE: Final = "UNDERSTUDY_LOG_LEVEL"
#: names the file to which processes add their lines as JSON, besides
FILE_VARIABLE: Final = "UNDERSTUDY_LOG_FILE"
FORMATS: Final = ("text", "json")
LEVELS: Final = ("debug", "info", "warning", "error")

#: Characters of a JSON line, so that nobody splits it who merges the output of several processes.
LINE_CHARS_MAX: Final = 16_000
#: characters of one value in a line that is shortened
_VALUE_CHARS_MAX: Final = 4_000
#: begins the names of attributes of a record that say in which run it was made
RUN_PREFIX: Final = "understudy_"
_COLORS: Final = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_PLAIN: Final = "\x1b[0m"
#: the attributes that every record has
_USUAL: Final = frozenset(
    {*logging.makeLogRecord({}).__dict__, "asctime", "message", "taskName", "fields"}
)
#: The logger whose records have attributes for the command line, which say nothing to others.
_OWN_LOGGER: Final = "understudy"


class LogSettingError(ValueError):
    """A format or a level of logs that there is not."""


def chosen_format() -> str | None:
    """Return the format that the environment names; None if it names none.

    Raises
    ------
    LogSettingError
    """
    return _chosen(FORMAT_VARIABLE, FORMATS)


def chosen_level() -> str | None:
    """Return the level that the environment names; None if it names none.

    Raises
    ------
    LogSettingError
    """
    return _chosen(LEVEL_VARIABLE, LEVELS)


def _chosen(variable: str, known: tuple[str, ...]) -> str | None:
    text = os.environ.get(variable, "")
    if text and text not in known:
        raise LogSettingError(f"{variable}={text!r}: choose one of {', '.join(known)}")
    return text or None


def extras(record: logging.LogRecord) -> dict[str, object]:
    """Return what a record has beside its text: its ``extra``, and the run that it was made in.

    Examples
    --------
    >>> extras(logging.makeLogRecord({"msg": "sent", "parcel": 7, "understudy_id": "order-7"}))
    {'parcel': 7, 'understudy.id': 'order-7'}
    """
    fields: object = getattr(record, "fields", None)
    found = dict(fields) if isinstance(fields, Mapping) else {}
    is_own = record.name == _OWN_LOGGER
    for name, value in record.__dict__.items():
        if name in _USUAL or name.startswith("_"):
            continue
        if name.startswith(RUN_PREFIX):
            found[name.replace("_", ".", 1)] = value
        elif not is_own or name in ("trace_id", "span_id"):
            found[name] = value
    return found


def exception_text(record: logging.LogRecord) -> str | None:
    """Return the traceback of a record; None if it has none."""
    if record.exc_text:
        return record.exc_text
    info = record.exc_info
    return logging.Formatter().formatException(info) if info and info[0] is not None else None


def json_line(
    record: logging.LogRecord, event: object, fields: Mapping[str, object], exception: str | None
) -> str:
    """Return a record as one JSON object; what JSON lacks is shown as its ``repr``."""
    line = {**fields, "event": event, "level": record.levelname.lower()}
    if record.name != "understudy.broker":
        line["logger"] = record.name
    if exception:
        line["exception"] = exception
    if record.stack_info:
        line["stack"] = record.stack_info
    line["timestamp"] = timestamp(record.created)
    try:
        text = json.dumps(line, default=_shown_in_json)
    except (TypeError, ValueError, RecursionError):
        # A key that is no text, or an object that contains itself.
        line = {str(name): _shown_in_json(value) for name, value in line.items()}
        text = json.dumps(line)
    return text if len(text) <= LINE_CHARS_MAX else _shortened(line)


def _shortened(line: Mapping[str, object]) -> str:
    """Return a line of at most `LINE_CHARS_MAX` characters, of which the usual parts come first."""
    usual = ("event", "level", "logger", "timestamp", "exception")
    kept: dict[str, object] = {"shortened": True}
    room = LINE_CHARS_MAX - 100
    for name in sorted(line, key=lambda name: usual.index(name) if name in usual else len(usual)):
        value = line[name]
        size = len(json.dumps(value, default=_shown_in_json))
        if size > _VALUE_CHARS_MAX:
            value = _cut(_shown_in_json(value), keep_end=name == "exception")
            size = len(json.dumps(value))
        room -= size + len(json.dumps(name)) + 4
        if room < 0:
            break
        kept[name] = value
    return json.dumps(kept, default=_shown_in_json)


def timestamp(seconds: float) -> str:
    """Return a moment, in seconds since 1970, as ISO 8601 in UTC."""
    moment = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
    return moment.replace("+00:00", "Z")


def _cut(text: str, *, keep_end: bool) -> str:
    """Return a part of a text that has room in a line; of a traceback the end, which says most."""
    text = text[-_VALUE_CHARS_MAX:] if keep_end else text[:_VALUE_CHARS_MAX]
    while len(json.dumps(text)) > _VALUE_CHARS_MAX:
        half = len(text) // 2
        text = text[half:] if keep_end else text[:half]
    return f"…{text}" if keep_end else f"{text}…"


class ForPrograms(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        return json_line(record, record.getMessage(), extras(record), exception_text(record))


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
        values = [f"{name}={shown_value(value)}" for name, value in extras(record).items()]
        return " ".join([timestamp(record.created), f"[{shown}]", record.getMessage(), *values])


def shown_value(value: object) -> str:
    """Return a value as text, quoted unless it is one printable word: it cannot break the line."""
    try:
        text = str(value)
    except Exception as error:
        text = f"<{type(value).__name__}, whose text raises {type(error).__name__}>"
    return text if text.isprintable() and " " not in text and text else repr(text)


def _shown_in_json(value: object) -> str:
    try:
        return value if isinstance(value, str) else repr(value)
    except Exception as error:
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
