"""The link from a call to the log system of the team. Pure."""

from __future__ import annotations

from string import Formatter
from typing import Final
from urllib.parse import quote, urlsplit

from understudy.tracing import headers
from understudy.tracing.ids import trace_id_of
from understudy_store.records import HEADER_TRACEPARENT, PromiseRecord, origin_of

#: what may stand in braces
PLACEHOLDERS: Final = ("id", "origin", "trace", "from", "to")
#: milliseconds before and after a call that a search takes in, because clocks differ
_MARGIN_MS: Final = 60_000


class LogLinkError(ValueError):
    """A link that leads nowhere; the message says why."""


class LogLink:
    """A link to the logs of a call, made from a template.

    Parameters
    ----------
    template
        An address with ``{id}``, ``{origin}`` (the id of the root of the call graph), ``{trace}``
        (hexadecimal), ``{from}`` and ``{to}`` (epoch milliseconds) in it.

    Raises
    ------
    LogLinkError
        It is no address of http or https, or has another placeholder.

    Examples
    --------
    >>> LogLink("ftp://logs/{id}")
    Traceback (most recent call last):
    understudy.ui.log_link.LogLinkError: 'ftp://logs/{id}' is no address of http or https
    """

    def __init__(self, template: str) -> None:
        try:
            parts = list(Formatter().parse(template))
            split = urlsplit(template)
        except ValueError as error:
            raise LogLinkError(f"{template!r}: {error}. A brace is written {{{{ or }}}}") from None
        if split.scheme not in ("http", "https") or not split.netloc:
            raise LogLinkError(f"{template!r} is no address of http or https")
        if not template.isprintable() or any(char in template for char in " \"<>\\^`|'"):
            raise LogLinkError(
                f"{template!r} has characters that no address has: write them as %20"
            )
        if set("{}@") & set(split.netloc):
            raise LogLinkError(f"{template!r}: placeholders and users are not for the host's name")
        for _, name, form, conversion in parts:
            if name is not None and (name not in PLACEHOLDERS or form or conversion):
                known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
                raise LogLinkError(f"{template!r}: {{{name}}} is not one of {known}")
        self._template = template

    def of(self, record: PromiseRecord, now_ms: int) -> str:
        """Return the address for a call, each value percent-encoded."""
        origin = origin_of(record)
        parent = headers.parse(record.param.headers.get(HEADER_TRACEPARENT))
        trace = trace_id_of(origin) if parent is None else parent.trace_id
        until = now_ms if record.settled_at is None else record.settled_at
        values = {
            "id": record.id,
            "origin": origin,
            "trace": f"{trace:032x}",
            "from": str(record.created_at - _MARGIN_MS),
            "to": str(until + _MARGIN_MS),
        }
        return self._template.format_map(
            {name: quote(value, safe="", errors="replace") for name, value in values.items()}
        )
