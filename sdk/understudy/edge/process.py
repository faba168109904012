"""The edge as a program: its sockets, signals, first line and exit code."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final, NamedTuple, TypeAlias

import trio
from msgspec.structs import replace
from starlette.types import ASGIApp

from understudy import extras
from understudy.edge.address import is_loopback, place
from understudy.edge.app import make_app, make_legacy_poll_app
from understudy.edge.brokers import Brokers, open_brokers
from understudy.edge.carrier import Deliver, open_carrier
from understudy.edge.edge import Edge
from understudy.edge.metrics import Counted, EdgeMonitor, EdgeNumbers
from understudy.edge.resonate.debug import DebugPerformer
from understudy.edge.server import bind, serve
from understudy.edge.settings import EdgeSettings
from understudy.edge.stop import Stop
from understudy.edge.tls import Certificate
from understudy.edge.tokens.gate import TokenGate
from understudy.errors import innermost
from understudy.logs import announce
from understudy_broker.errors import LinkError
from understudy_broker.monitoring.listener import Listener, MonitoringListenError
from understudy_broker.monitoring.listener import bind as bind_monitor
from understudy_broker.monitoring.loop_probe import turns
from understudy_broker.monitoring.service_manager import ServiceManager, take_service_manager
from understudy_broker.process import StopSignals, raise_descriptor_limit, tune_collection
from understudy_broker.transport.loop_lock import LoopThread

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1

#: Given a function that stops the edge, watches for the supervisor's wish that it stops.
WatchSupervisor: TypeAlias = Callable[[Callable[[], None]], object]

#: open files that are no connections of clients
_OWN_DESCRIPTORS: Final = 96

_LOG: Final = logging.getLogger("understudy.edge")


def run_edge(settings: EdgeSettings, watch: WatchSupervisor | None = None) -> int:
    """Run an edge until a signal comes; must be called on the main thread.

    The first SIGINT, SIGTERM or SIGHUP has it finish the requests under way; the second SIGINT or
    SIGTERM ends the process at once.

    Returns
    -------
    The exit code: 0 after a stop in order, 1 if it could not listen or a broker has refused it.

    Raises
    ------
    ConfigurationError
        The file of tokens or the certificate cannot be used.
    """
    stop, manager = Stop(), take_service_manager()

    def end() -> None:
        manager.stopping()
        stop.request()

    with StopSignals(end):
        if watch is not None and watch(stop.request) is not None:
            manager = ServiceManager()  # The supervisor's, not this process's.
        settings = _within_descriptors(settings, raise_descriptor_limit())
        security = _security_of(settings)
        addresses = [("--listen", (settings.host, settings.port))]
        if settings.legacy_poll is not None:
            addresses.append(("--legacy-poll", settings.legacy_poll))
        socks: list[socket.socket] = []
        monitored: socket.socket | None = None
        try:
            for option, (host, port) in addresses:
                socks.append(_bind(host, port, option))
            grpc = _probe(settings.grpc)
            if settings.metrics is not None and not settings.debug:
                monitored = bind_monitor(settings.metrics)
        except (_ListenError, MonitoringListenError) as error:
            for sock in socks:
                sock.close()
            announce(f"understudy edge: {error}", logging.ERROR)
            return EXIT_FAILED
        try:
            trio.run(_main, settings, security, socks, grpc, monitored, stop, manager)
        except BaseExceptionGroup as group:
            cause = innermost(group)
            if not isinstance(cause, LinkError | _ListenError):
                raise
            announce(f"understudy edge: {cause}", logging.ERROR)
            return EXIT_FAILED
    return EXIT_OK


class _Security(NamedTuple):
    """The tokens and the certificate of an edge, as far as it has them."""

    gate: TokenGate | None
    certificate: Certificate | None

    def scheme(self, name: str) -> str:
        """Return a scheme, with an s if connections are encrypted."""
        return name if self.certificate is None else f"{name}s"


def _security_of(settings: EdgeSettings) -> _Security:
    return _Security(
        None if settings.tokens is None else TokenGate(settings.tokens),
        None if settings.tls is None else Certificate(*settings.tls),
    )


def _within_descriptors(settings: EdgeSettings, descriptors: int) -> EdgeSettings:
    """Have connections beyond the limit of open files refused in words, and not left unheard."""
    most = max(1, descriptors - _OWN_DESCRIPTORS)
    if settings.limits.connections_max <= most:
        return settings
    _LOG.warning(
        "%s connections may be open instead of %s, because the limit of open files is %s (ulimit "
        "-n, LimitNOFILE)",
        *(f"{count:,}" for count in (most, settings.limits.connections_max, descriptors)),
    )
    limits = replace(settings.limits, connections_max=most)
    return replace(settings, limits=limits)


class _ListenError(Exception):
    """The edge cannot listen somewhere."""


def _bind(host: str, port: int, option: str) -> socket.socket:
    try:
        return bind(host, port)
    except OSError as error:
        raise _ListenError(
            f"it cannot listen at {place(host, port)}: {error.strerror}. Give another address "
            f"with {option}"
        ) from None


def _probe(grpc: tuple[str, int] | None) -> tuple[str, int] | None:
    """Return where to listen for gRPC, with the host as a number, if that is possible.

    grpcio would not say why it is not.
    """
    if grpc is None:
        return None
    with _bind(*grpc, "--grpc") as sock:
        return sock.getsockname()[0], grpc[1]


async def _main(
    settings: EdgeSettings,
    security: _Security,
    socks: list[socket.socket],
    grpc: tuple[str, int] | None,
    monitored: socket.socket | None,
    stop: Stop,
    manager: ServiceManager,
) -> None:
    stopped = stop.attach()
    manager.beat_while(partial(turns, LoopThread()))
    sock, *legacy_socks = socks
    host, port = sock.getsockname()[:2]
    _warn_if_open(security, host, port)
    if settings.debug:
        await _debug(settings, security, sock, stopped)
        return
    async with open_brokers(settings.url, settings.patience_s) as brokers:
        edge = Edge(brokers, settings, None, *security)
        async with _monitoring(edge, monitored) as counted, trio.open_nursery() as nursery:
            _watch_files(security, nursery)
            polls = [place(*each.getsockname()[:2]) for each in legacy_socks]
            url = f"{security.scheme('http')}://{place(host, port)}"
            nursery.start_soon(_tell_ready, edge, url, polls)
            tune_collection()
            async with (
                _carrying(edge, url),
                trio.open_nursery() as servers,
            ):
                until = _until(stopped, edge)
                tls = _context_of(security)
                app = counted(make_app(edge))
                servers.start_soon(serve, app, sock, settings.limits, until, tls)
                if grpc is not None:
                    await _start_grpc(edge, *grpc, servers)
                for each in legacy_socks:
                    app = counted(make_legacy_poll_app(edge))
                    servers.start_soon(serve, app, each, settings.limits, until, tls)
                manager.ready(f"listening at {url}")
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def _monitoring(
    edge: Edge, sock: socket.socket | None
) -> AsyncIterator[Callable[[ASGIApp], ASGIApp]]:
    """Show metrics at a socket while the block runs; give what counts an application's requests."""
    if sock is None:
        yield lambda app: app
        return
    numbers = EdgeNumbers()
    listener = Listener(sock, EdgeMonitor(numbers, lambda: edge.brokers.ready).pages)
    print(f"understudy edge: http://{listener.place}/metrics for metrics", flush=True)
    try:
        yield lambda app: Counted(app, numbers)
    finally:
        listener.stop()


def _watch_files(security: _Security, nursery: trio.Nursery) -> None:
    """Follow the files of tokens and of the certificate as they change."""
    if security.gate is not None:
        nursery.start_soon(security.gate.run)
    if security.certificate is not None:
        nursery.start_soon(security.certificate.watch)


def _context_of(security: _Security) -> ssl.SSLContext | None:
    return None if security.certificate is None else security.certificate.context


async def _start_grpc(edge: Edge, host: str, port: int, nursery: trio.Nursery) -> None:
    """Listen for gRPC as well. It ends with the edge."""
    # Imported here, because an edge without it needs none of it.
    from understudy.edge.grpc.server import GrpcListenError, serve_grpc

    try:
        port = await nursery.start(serve_grpc, edge, place(host, port))
    except BaseExceptionGroup as group:
        cause = innermost(group)
        if not isinstance(cause, GrpcListenError):
            raise
        # It was free a moment ago.
        raise _ListenError(f"it cannot listen at {place(host, port)} for gRPC: {cause}") from None
    security = _Security(edge.gate, edge.certificate)
    _warn_if_open(security, host, port)
    announce(f"understudy edge: {security.scheme('grpc')}://{place(host, port)}")


def _warn_if_open(security: _Security, host: str, port: int) -> None:
    if security.gate is None and not is_loopback(host):
        _LOG.warning(
            "%s can be reached by other machines, and there is no authentication: anyone who can "
            "reach it can call, read and cancel everything",
            place(host, port),
        )


@asynccontextmanager
async def _carrying(edge: Edge, own_url: str) -> AsyncIterator[None]:
    """Deliver while the block runs to what this edge has the means for, if there is anything."""
    deliver: dict[str, Deliver] = {}
    async with AsyncExitStack() as stack:
        push = edge.settings.push
        if push is not None:
            # It needs a client of HTTP, which edges that push nothing do without.
            from understudy.edge.push.poster import SCHEMES, open_poster

            server_url = push.server_url or own_url
            poster = await stack.enter_async_context(open_poster(push, server_url))
            deliver |= dict.fromkeys(SCHEMES, poster.deliver)
            if not extras.missing("grpc", "google.protobuf"):
                from understudy.edge.grpc import pusher as grpc_push

                opened = grpc_push.open_pusher(push, server_url)
                pusher = await stack.enter_async_context(opened)
                deliver |= dict.fromkeys(grpc_push.SCHEMES, pusher.deliver)
        if deliver:
            await stack.enter_async_context(
                open_carrier(edge.brokers, deliver, edge.settings.credit)
            )
        yield


async def _debug(
    settings: EdgeSettings, security: _Security, sock: socket.socket, stopped: trio.Event
) -> None:
    """Serve the Resonate protocol from memory, for a test suite."""
    url = f"{security.scheme('http')}://{place(*sock.getsockname()[:2])}"
    debug = DebugPerformer(strict=settings.strict, server_url=url)
    edge = Edge(Brokers(), settings, debug, *security)
    async with trio.open_nursery() as nursery:
        _watch_files(security, nursery)
        nursery.start_soon(debug.run)
        announce(f"understudy edge: {url} for tests, with a store in memory")
        until, tls = _until(stopped, edge), _context_of(security)
        await serve(make_app(edge), sock, settings.limits, until, tls)
        nursery.cancel_scope.cancel()


def _until(stopped: trio.Event, edge: Edge) -> Callable[[], Awaitable[None]]:
    async def wait() -> None:
        await stopped.wait()
        edge.draining.set()

    return wait


async def _tell_ready(edge: Edge, own_url: str, polls: list[str]) -> None:
    """Say where the edge is, and whether a broker answers."""
    url = edge.settings.url
    announce(f"understudy edge: {own_url} for the broker at {url}")
    scheme = own_url.partition(":")[0]
    for poll in polls:
        announce(f"understudy edge: {scheme}://{poll} for older event streams")
    with trio.move_on_after(_PATIENCE_S):
        await edge.brokers.wait_ready()
    if not edge.brokers.ready:
        _LOG.warning("no broker answers at %s yet; requests wait for it", url)
        await edge.brokers.wait_ready()
        _LOG.info("a broker answers at %s", url)


#: how long a broker may take to answer before the log says so
_PATIENCE_S: Final = 2.0
