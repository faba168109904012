"""Refusals as statuses of gRPC, with the texts that HTTP and the command line have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from grpc import StatusCode

from understudy.edge.brokers import BusyError, NoBrokerError
from understudy.edge.native.problems import Problem
from understudy.edge.tokens.bearer import RefusedError
from understudy.errors import UnderstudyError, innermost

#: Bytes of a text. It travels as a header, each byte as up to three; clients take 8 KiB of them.
TEXT_BYTES_MAX: Final = 2000

#: statuses of HTTP, and of the brokers' refusals, to those of gRPC
_CODES: Final[Mapping[int, StatusCode]] = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    409: StatusCode.FAILED_PRECONDITION,
    410: StatusCode.FAILED_PRECONDITION,
    413: StatusCode.INVALID_ARGUMENT,
    422: StatusCode.INVALID_ARGUMENT,
    429: StatusCode.RESOURCE_EXHAUSTED,
    503: StatusCode.UNAVAILABLE,
}


class Refusal(UnderstudyError):
    """A request that is answered with a status.

    Parameters
    ----------
    code
        The status.
    text
        What happened and what to do, in a sentence.
    """

    def __init__(self, code: StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def refusal_of(error: Exception, conflict: StatusCode) -> Refusal | None:
    """Return the refusal that an error is; None if it is none of those that are expected.

    Parameters
    ----------
    conflict
        The status of a conflict with what is stored, which depends on the request.
    """
    cause = innermost(error) if isinstance(error, BaseExceptionGroup) else error
    if isinstance(cause, Refusal):
        return cause
    if isinstance(cause, RefusedError):
        return Refusal(_CODES[cause.status], cause.detail)
    if isinstance(cause, Problem):
        code = conflict if cause.status == 409 else _CODES.get(cause.status, StatusCode.UNKNOWN)
        return Refusal(code, shortened(cause.detail))
    if isinstance(cause, NoBrokerError):
        return Refusal(StatusCode.UNAVAILABLE, str(cause))
    if isinstance(cause, BusyError):
        return Refusal(StatusCode.RESOURCE_EXHAUSTED, str(cause))
    return None


def shortened(text: str) -> str:
    """Return a text that a header has room for.

    Examples
    --------
    >>> len(shortened("ü" * 5000))
    1000
    """
    data = text.encode("utf-8", "replace")
    if len(data) <= TEXT_BYTES_MAX:
        return data.decode()
    return data[: TEXT_BYTES_MAX - 3].decode(errors="ignore") + "…"
