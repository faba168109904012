"""The context of a trace in headers, as the W3C's recommendation "Trace Context" has it. Pure.

Needs no OpenTelemetry, so that an edge or a source passes on what it is sent without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from understudy_store.records import HEADER_TRACELINK, HEADER_TRACEPARENT, HEADER_TRACESTATE

#: characters of a tracestate that is passed on; the recommendation asks for as many
STATE_CHARS_MAX: Final = 512
_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE: Final = re.compile(r"[ -~]*")
_SAMPLED: Final = 1


class TraceParent(NamedTuple):
    """The span that something belongs to.

    Attributes
    ----------
    trace_id, span_id
        Numbers of 128 and of 64 bits, not 0.
    is_sampled
        Whether its spans are recorded.
    """

    trace_id: int
    span_id: int
    is_sampled: bool

    @property
    def text(self) -> str:
        """It as the header ``traceparent``."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-0{int(self.is_sampled)}"


def parse(text: str | None) -> TraceParent | None:
    """Return what a header ``traceparent`` says; None if it is malformed or absent.

    Examples
    --------
    >>> parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").is_sampled
    True
    >>> parse("00-00000000000000000000000000000000-b7ad6b7169203331-01") is None
    True
    """
    if text is None:
        return None
    match = _PARENT.fullmatch(text)
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more):
        return None
    parent = TraceParent(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & _SAMPLED))
    return parent if parent.trace_id and parent.span_id else None


def forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a call that goes on with the trace of a request; none if it has none.

    Parameters
    ----------
    headers
        Those of the request, with names in small letters.
    """
    parent = parse(headers.get(HEADER_TRACEPARENT))
    if parent is None:
        return {}
    passed = {HEADER_TRACEPARENT: parent.text}
    state = headers.get(HEADER_TRACESTATE)
    if state and len(state) <= STATE_CHARS_MAX and _STATE.fullmatch(state):
        passed[HEADER_TRACESTATE] = state
    return passed


def linked(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a call that begins a trace of its own, linked to that of a message.

    A message may have waited in its queue for days, and one trace would hold all of them.
    """
    parent = parse(headers.get(HEADER_TRACEPARENT))
    return {} if parent is None else {HEADER_TRACELINK: parent.text}
