"""The routes of the native API, as one route of the edge's application."""

from __future__ import annotations

import logging
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from understudy.edge.brokers import BusyError, NoBrokerError
from understudy.edge.edge import Edge
from understudy.edge.native.exchange import Exchange, Handler, allow, problem_answer
from understudy.edge.native.functions import Functions
from understudy.edge.native.handlers import CallHandlers, PromiseHandlers
from understudy.edge.native.hook_handlers import HookHandlers
from understudy.edge.native.operations import GroupHandlers, ScheduleHandlers
from understudy.edge.native.paths import Paths
from understudy.edge.native.problems import Problem, busy
from understudy.edge.native.streams import Streams
from understudy.edge.native.waits import HungUpError, Waits
from understudy.errors import innermost

_LOG: Final = logging.getLogger("understudy.edge")


class NativeRoute(BaseRoute):
    """All paths of the native API. It looks at the path as it was sent, for slashes in ids."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        functions = Functions(edge.brokers)
        calls = CallHandlers(edge, functions, Waits(edge), Streams(edge))
        self._paths: Final[Paths[Handler]] = Paths(
            {
                **calls.table(),
                **PromiseHandlers(edge, calls).table(),
                **ScheduleHandlers(edge, functions).table(),
                **GroupHandlers(edge, functions).table(),
                **HookHandlers(edge).table(),
            }
        )

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match every path that begins as one of this API."""
        is_ours = scope["type"] == "http" and self._paths.leads(scope["raw_path"])
        return (Match.FULL if is_ours else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        limit = self._edge.settings.body_bytes_max
        exchange = Exchange(scope, receive, send, limit)
        try:
            try:
                response = await self._answer(scope, exchange)
            except Exception as error:
                if isinstance(error, ClientDisconnect | HungUpError):
                    return
                response = problem_answer(_problem_of(error))
            if response is not None:
                await exchange.finish(response)
        except ClientDisconnect:
            return
        if response is not None:
            await response(scope, receive, send)

    async def _answer(self, scope: Scope, exchange: Exchange) -> Response | None:
        methods, exchange.names = self._paths.find(scope["raw_path"])
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if not methods:
            raise Problem(404, "there is no such path here. Write / in an id as %2F")
        handler = methods.get(method)
        if handler is None:
            allowed = {"allow": allow(methods)}
            if method == "OPTIONS":
                return Response(status_code=204, headers=allowed)
            raise Problem(405, f"this path does not take {method}", allowed)
        return await handler(exchange)


def _problem_of(error: Exception) -> Problem:
    """Return the problem that an error is; raise it if it is none of those that are expected."""
    cause = innermost(error) if isinstance(error, BaseExceptionGroup) else error
    if isinstance(cause, Problem):
        return cause
    if isinstance(cause, NoBrokerError):
        return Problem(504, str(cause), {"retry-after": "1"})
    if isinstance(cause, BusyError):
        return busy(str(cause))
    _LOG.error("a request failed", exc_info=error)
    return Problem(500, f"unexpected error: {type(cause).__name__}; the edge's log says more")
