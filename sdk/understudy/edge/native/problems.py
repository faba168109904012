"""Problems: what a request is told that cannot be performed (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from understudy.errors import UnderstudyError
from understudy_store.commands import Reply

MEDIA_TYPE: Final = "application/problem+json"


class Problem(UnderstudyError):
    """A request that is answered with a problem.

    Parameters
    ----------
    status
        The status of the answer.
    detail
        What happened and what to do, in a sentence; the command line says the same.
    headers
        Further headers of the answer.
    **more
        Further members of the problem, such as `parameter`.
    """

    def __init__(
        self, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more

    def data(self) -> dict[str, Any]:
        """Return the problem as JSON data."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            **self.more,
        }


def of_reply(reply: Reply) -> Problem:
    """Return the problem of a command that a broker has refused."""
    status = reply.status if reply.status in _STATUSES else 502
    headers = {"retry-after": "1"} if status in (429, 503) else None
    return Problem(status, reply.error or "the broker refuses this", headers)


def busy(detail: str) -> Problem:
    """Return the problem of a request for which there is no room at the moment."""
    return Problem(503, detail, {"retry-after": "1"})


#: refusals of brokers that are passed on as they are
_STATUSES: Final = frozenset({400, 403, 404, 409, 410, 413, 422, 429, 503})
