"""The ASGI application of an edge: the routes of all protocols that it speaks."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from understudy.edge.address import is_own
from understudy.edge.budgets import WithinBudget
from understudy.edge.edge import Edge
from understudy.edge.native.exchange import problem_answer
from understudy.edge.native.problems import Problem
from understudy.edge.native.routes import NativeRoute
from understudy.edge.resonate.handlers import Performer, ResonateApp
from understudy.edge.resonate.legacy.handlers import LegacyApp, LegacyPollApp
from understudy.edge.settings import EdgeSettings
from understudy.edge.sites import ANY_NAME, OwnSite
from understudy.edge.tokens.asgi import WithTokens
from understudy.edge.tunnel import tunnel_route


def make_app(edge: Edge) -> ASGIApp:
    """Return the application."""
    routes = [*_health_routes(edge)]
    if edge.debug is None:
        routes += [tunnel_route(edge), NativeRoute(edge)]
    rest = Starlette(routes=routes, exception_handlers={HTTPException: _tell})
    app = _with_tokens(edge, WithinBudget(_with_resonate(edge, rest), edge.bodies))
    return OwnSite(app, names=_names(edge.settings))


async def _tell(_request: Request, error: Exception) -> Response:
    """Answer a request for a path that no protocol has."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        text = "there is no such path here. GET /openapi.json describes those that there are"
        return problem_answer(Problem(404, text))
    return problem_answer(Problem(error.status_code, error.detail, error.headers))


def _with_resonate(edge: Edge, rest: ASGIApp) -> ASGIApp:
    """Put the Resonate protocol in front of an application."""
    settings = edge.settings
    if edge.debug is not None:
        return ResonateApp(rest, edge.debug, edge.events, settings.body_bytes_max)
    perform = Performer(edge.brokers, strict=settings.strict)
    app: ASGIApp = ResonateApp(rest, perform, edge.events, settings.body_bytes_max)
    if settings.legacy_poll is not None:
        app = LegacyApp(app, edge.brokers, edge.clients, settings.body_bytes_max)
    return app


def make_legacy_poll_app(edge: Edge) -> ASGIApp:
    """Return the application of the older event streams, which have a port of their own."""
    app = _with_tokens(edge, LegacyPollApp(edge.events, edge.brokers, edge.clients))
    return OwnSite(app, joins=True, names=_names(edge.settings))


def _with_tokens(edge: Edge, app: ASGIApp) -> ASGIApp:
    if edge.gate is None:
        return app
    return WithTokens(app, edge.gate, has_keys=edge.brokers.has_keys)


def _names(settings: EdgeSettings) -> frozenset[str]:
    """Return the names by which clients may reach the edge, as they send them."""
    return frozenset(settings.names) if is_own(settings.host) else ANY_NAME


def _health_routes(edge: Edge) -> Sequence[BaseRoute]:
    async def health(_request: Request) -> Response:
        return Response(status_code=200)

    async def ready(_request: Request) -> Response:
        return Response(status_code=200 if edge.debug or edge.brokers.ready else 503)

    return [Route("/health", health), Route("/ready", ready)]
