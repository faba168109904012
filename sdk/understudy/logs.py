"""Logs of processes with durable functions: the run in each record, and the format of lines.

`RunFilter` is for handlers of your own. ``understudy node`` and the other commands have it already.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, MutableMapping
from copy import copy
from typing import TYPE_CHECKING, Any, Final

from understudy.current_run import CURRENT
from understudy_broker.log_format import (
    FILE_VARIABLE,
    RUN_PREFIX,
    chosen_format,
    chosen_level,
    exception_text,
    extras,
    json_line,
    shown_value,
)

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

_SPANS: Final = "opentelemetry.trace"


def run_facts() -> dict[str, object]:
    """Return what there is to say of the run and the span whose code calls this.

    Returns
    -------
    dict of str to object
        ``understudy_id``, ``understudy_origin`` (the id of the root of the call graph),
        ``understudy_function``, ``understudy_group``, ``understudy_attempt`` and
        ``understudy_node``; ``trace_id`` and ``span_id`` (hexadecimal) if OpenTelemetry has a
        current span. Outside of durable functions the former are absent.

    Examples
    --------
    >>> from understudy.logs import run_facts
    >>> @runtime.register
    ... def charge(ctx):
    ...     return run_facts()["understudy_id"]
    >>> runtime.rpc("charge-7", charge).result()
    'charge-7'
    """
    run = CURRENT.get()
    facts = {} if run is None else run.facts()
    if _SPANS in sys.modules:
        facts |= _span_facts()
    return facts


def _span_facts() -> dict[str, object]:
    from opentelemetry.trace import get_current_span

    context = get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


class RunFilter(logging.Filter):
    """Puts the run, and the span, in which a record is made on the record, for any formatter.

    Add it to a handler: it then sees the records of all loggers. It lets all of them pass.

    Examples
    --------
    >>> import logging
    >>> from understudy.logs import RunFilter
    >>> handler = logging.StreamHandler()
    >>> handler.addFilter(RunFilter())
    >>> form = "%(levelname)s %(understudy_id)s %(message)s"
    >>> handler.setFormatter(logging.Formatter(form, defaults={"understudy_id": "-"}))
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the attributes that `run_facts` has, unless the record has them; return True.

        Parameters
        ----------
        record : logging.LogRecord
            The record.

        Returns
        -------
        bool
            True.

        Examples
        --------
        >>> import logging
        >>> from understudy.logs import RunFilter
        >>> RunFilter().filter(logging.makeLogRecord({"msg": "sent"}))
        True
        """
        for name, value in run_facts().items():
            if name not in record.__dict__:
                record.__dict__[name] = value
        return True


def add_run(
    logger: WrappedLogger,  # noqa: ARG001 - structlog passes it
    method: str,  # noqa: ARG001
    event: EventDict,
) -> EventDict:
    """Add the run and the span to an event of structlog: a processor for its configuration.

    Parameters
    ----------
    logger, method : object
        Not used.
    event : dict
        The event.

    Returns
    -------
    dict
        The event, with ``understudy.id`` and so on.

    Examples
    --------
    >>> import structlog
    >>> from understudy.logs import add_run
    >>> processors = [add_run, structlog.processors.JSONRenderer()]
    """
    for name, value in run_facts().items():
        event.setdefault(_dotted(name), value)
    return event


def _dotted(name: str) -> str:
    return name.replace("_", ".", 1) if name.startswith(RUN_PREFIX) else name


# The logs of a process --------------------------------------------------------------------------


class TextLines(logging.Formatter):
    """Formats a record as time, level, logger and text, with its ``extra`` as ``name=value``.

    Of the run it shows the id, if the text does not: `ctx.log` puts it there.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record, which may be an event of structlog."""
        if isinstance(record.msg, dict):
            event = {name: value for name, value in record.msg.items() if name != "exc_info"}
            record = copy(record)
            record.msg, record.args = str(event.pop("event", "")), ()
            record.__dict__["fields"] = event
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        text = super().formatMessage(record)
        found = extras(record)
        id = found.get("understudy.id")
        is_shown = id is None or str(id) in record.message
        shown = [] if is_shown else [f"understudy.id={shown_value(id)}"]
        shown += [
            f"{name}={shown_value(value)}"
            for name, value in found.items()
            if not name.startswith("understudy.") and name not in ("trace_id", "span_id")
        ]
        return " ".join([text, *shown])


def announce(text: str, level: int = logging.INFO) -> None:
    """Tell what a process does, or why it ends; where logs are JSON, as a line of the log.

    Parameters
    ----------
    level
        Text of level error goes to standard error, any other to standard output.
    """
    if chosen_format() == "json":
        logging.getLogger("understudy").log(level, "%s", text)
    else:
        print(text, file=sys.stderr if level >= logging.ERROR else sys.stdout, flush=True)


def json_lines() -> logging.Formatter:
    """Return a formatter of JSON lines, by structlog.

    Records of structlog's own loggers become lines of the same form, if they come through
    `logging` (``structlog.stdlib.ProcessorFormatter.wrap_for_formatter``).
    """
    from structlog.stdlib import ProcessorFormatter

    return ProcessorFormatter(
        foreign_pre_chain=[_take_record], processors=[_take_structlog, _render]
    )


def _take_record(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take in what a record of `logging` has beside its text."""
    record: logging.LogRecord = event["_record"]
    event.pop("exc_info", None)
    event.pop("stack_info", None)
    return {"exception": exception_text(record), **event, "_fields": extras(record)}


def _take_structlog(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take in the fields of an event of structlog, and the exception that it may have."""
    if not event["_from_structlog"]:
        return event
    from structlog.processors import format_exc_info

    record: logging.LogRecord = event["_record"]
    event = format_exc_info(None, "", dict(event))
    usual = ("_record", "_from_structlog", "event", "exception", "level", "timestamp", "logger")
    fields = {name: value for name, value in event.items() if name not in usual}
    return {**event, "_fields": {**extras(record), **fields}}


def _render(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    """Return the line."""
    return json_line(event["_record"], event.get("event"), event["_fields"], event.get("exception"))


def configure(*, level: str | None = None, handlers: Iterable[logging.Handler] = ()) -> bool:
    """Have this process write its logs to standard error, as the one setting says.

    Does nothing if the root logger has handlers. With UNDERSTUDY_LOG_FILE, lines are added to that
    file besides, as JSON.

    Parameters
    ----------
    level
        The level where UNDERSTUDY_LOG_LEVEL names none; by default info.
    handlers
        Instead of a handler for standard error.

    Returns
    -------
    bool
        Whether lines are JSON.

    Raises
    ------
    LogSettingError
        The setting names a format or a level that there is not.
    OSError
        The file cannot be written to.
    """
    is_json = chosen_format() == "json"
    formatter = json_lines() if is_json else TextLines()
    made = list(handlers) or [logging.StreamHandler()]
    for handler in made:
        handler.addFilter(RunFilter())
        handler.setFormatter(formatter)
    if path := os.environ.get(FILE_VARIABLE):
        # Imported here, because most processes have no such file.
        from understudy.log_file import LogFile

        file = LogFile(path)
        file.addFilter(RunFilter())
        file.setFormatter(json_lines())
        made.append(file)
    logging.basicConfig(level=(chosen_level() or level or "info").upper(), handlers=made)
    return is_json


__all__ = ["RunFilter", "add_run", "run_facts"]
