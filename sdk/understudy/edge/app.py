"""The ASGI application of an edge: the routes of all protocols that it speaks."""

from __future__ import annotations

from collections.abc import Sequence

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from understudy.edge.brokers import Brokers
from understudy.edge.resonate.debug import DebugPerformer
from understudy.edge.resonate.event_streams import EventStreams
from understudy.edge.resonate.handlers import Performer, ResonateApp
from understudy.edge.resonate.legacy import Clients
from understudy.edge.resonate.legacy_handlers import LegacyApp, LegacyPollApp
from understudy.edge.resonate.link import connect_streams
from understudy.edge.settings import EdgeSettings


class Edge:
    """The state that the handlers of all protocols share.

    Attributes
    ----------
    debug
        Performs the Resonate protocol without a broker; None: brokers do.
    streams, events
        The event streams of the Resonate protocol, and what opens them.
    clients
        What is remembered of clients of its older REST.
    draining
        Set once the edge is to end: streams end, and nothing waits any longer.
    """

    def __init__(
        self, brokers: Brokers, settings: EdgeSettings, debug: DebugPerformer | None = None
    ) -> None:
        self.debug = debug
        self.brokers = brokers
        self.settings = settings
        self.draining = trio.Event()
        self.streams = connect_streams(brokers) if debug is None else debug.streams
        self.clients = Clients(self.streams.address_of)
        self.events = EventStreams(self.streams, self.draining, settings.streams_max)


def make_app(edge: Edge) -> ASGIApp:
    """Return the application."""
    return _with_resonate(edge, Starlette(routes=[*_health_routes(edge)]))


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
    return LegacyPollApp(edge.events, edge.brokers, edge.clients)


def _health_routes(edge: Edge) -> Sequence[BaseRoute]:
    async def health(_request: Request) -> Response:
        return Response(status_code=200)

    async def ready(_request: Request) -> Response:
        return Response(status_code=200 if edge.debug or edge.brokers.ready else 503)

    return [Route("/health", health), Route("/ready", ready)]
