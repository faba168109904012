"""The gRPC server of an edge: an asyncio loop in a thread of its own, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import grpc
import trio
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from understudy.edge.edge import Edge
from understudy.edge.grpc.bridge import Bridge
from understudy.edge.grpc.endings import Endings
from understudy.edge.grpc.operations import Operations
from understudy.edge.grpc.service import NAME, Service
from understudy.edge.settings import EdgeSettings
from understudy.edge.tls import Certificate
from understudy.errors import UnderstudyError
from understudy_broker.transport.loop_lock import LoopThread

#: Requests that may be under way beside those that wait and the streams; the next ones are refused
#: with RESOURCE_EXHAUSTED.
QUICK_MAX: Final = 4096
#: how often the health is looked at
HEALTH_S: Final = 0.5
#: how long the last answers may take to be written when the server ends
LAST_ANSWERS_S: Final = 0.5


class GrpcListenError(UnderstudyError):
    """The server cannot listen at its address."""


def requests_max(settings: EdgeSettings) -> int:
    """Return how many requests may be under way."""
    return settings.waiting_max + settings.streams_max + QUICK_MAX


def options_of(settings: EdgeSettings) -> list[tuple[str, Any]]:
    """Return the bounds of a server, in the words of grpc's core."""
    limits = settings.limits
    return [
        # Requests that the thread has not taken up yet. Beyond these bounds (else 1000 and 3000),
        # grpc's core cancels some at random.
        ("grpc.server.max_pending_requests", requests_max(settings)),
        ("grpc.server.max_pending_requests_hard_limit", requests_max(settings)),
        # Another process at the same port would take a part of the requests.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.body_bytes_max),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", limits.head_bytes_max // 2),
        ("grpc.absolute_max_metadata_size", limits.head_bytes_max),
        ("grpc.max_allowed_incoming_connections", limits.connections_max),
        ("grpc.server_handshake_timeout_ms", int(limits.write_timeout_s * 1000)),
        ("grpc.max_connection_idle_ms", int(limits.idle_s * 1000) * 4),
        # A client that is gone without a word is noticed, and its waits and streams end.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", int(limits.write_timeout_s * 1000)),
        # A client may look for the edge as often, and also while it asks nothing.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _credentials(certificate: Certificate) -> grpc.ServerCredentials:
    """Return credentials that follow a certificate as it is replaced."""
    used = certificate.pair

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        # Called on threads of grpc's, at each handshake.
        nonlocal used
        if certificate.pair is used:
            return None
        used = certificate.pair
        return grpc.ssl_server_certificate_configuration([used])

    first = grpc.ssl_server_certificate_configuration([used])
    fetcher: Any = fetch  # which may return None, as its documentation says
    return grpc.dynamic_ssl_server_credentials(first, fetcher)


async def serve_grpc(
    edge: Edge,
    address: str,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve gRPC until the edge drains, and then until its requests have ended.

    Parameters
    ----------
    address
        HOST:PORT; with port 0 the system chooses one.
    task_status
        Is told the port.

    Raises
    ------
    GrpcListenError
        In an exception group: it cannot listen there.
    """
    async with trio.open_nursery() as nursery:
        endings = Endings(edge.draining)
        server = _Server(edge, Bridge(nursery), Operations(edge, endings), address)
        nursery.start_soon(server.run)
        try:
            task_status.started(await server.port())
            nursery.start_soon(endings.run)
            nursery.start_soon(_tell_health, edge, server)
            await edge.draining.wait()
            server.drain()
            await server.ended.wait()
        finally:
            server.stop()
        nursery.cancel_scope.cancel()


async def _tell_health(edge: Edge, server: _Server) -> None:
    """Tell the server's health checks whether a broker answers, whenever that changes."""
    told: bool | None = None
    while True:
        if edge.brokers.ready is not told:
            told = edge.brokers.ready
            server.tell_health(told)
        await trio.sleep(HEALTH_S)


class _Server:
    """The server in its thread. Its public methods belong to the trio loop.

    Attributes
    ----------
    ended
        Set once the thread has ended.
    """

    def __init__(self, edge: Edge, bridge: Bridge, operations: Operations, address: str) -> None:
        self.ended = trio.Event()
        self._settings = edge.settings
        self._gate = edge.gate
        self._certificate = edge.certificate
        self._bridge = bridge
        self._operations = operations
        self._address = address
        self._trio = LoopThread()
        self._bound = trio.Event()
        self._port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining, self._stopped = asyncio.Event(), asyncio.Event()
        self._health = health.aio.HealthServicer()

    async def run(self) -> None:
        """Run the thread, and return once it has ended, which `stop` brings about."""
        try:
            await trio.to_thread.run_sync(self._run, limiter=trio.CapacityLimiter(1))
        finally:
            self.ended.set()

    async def port(self) -> int:
        """Return the port, once the server listens."""
        await self._bound.wait()
        return self._port

    def tell_health(self, is_ready: bool) -> None:
        """Say in health checks whether the service can be used."""
        self._soon(lambda: asyncio.ensure_future(self._set_health(is_ready)))

    def drain(self) -> None:
        """Take no more requests, and end when those under way have ended, or after a while."""
        self._soon(self._draining.set)

    def stop(self) -> None:
        """End at once."""
        self._soon(self._draining.set)
        self._soon(self._stopped.set)

    def _soon(self, function: Callable[[], object]) -> None:
        if self._loop is None:
            function()  # the loop will find the events set
            return
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function)

    # On the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        settings, limits = self._settings, self._settings.limits
        service = Service(
            self._bridge,
            self._operations,
            self._gate,
            settings.waiting_max,
            settings.streams_max,
            limits.write_timeout_s,
        )
        server = self._server(service)
        await server.start()
        self._trio.run_soon(self._bound.set)
        await self._draining.wait()
        await self._health.enter_graceful_shutdown()
        ending = asyncio.ensure_future(server.stop(limits.drain_s))
        idle = asyncio.ensure_future(service.until_idle())
        stopped = asyncio.ensure_future(self._stopped.wait())
        # A stream of health checks would go on for all of that time, so it is not waited for. But
        # the last answers may be on their way yet.
        await asyncio.wait((ending, idle, stopped), return_when=asyncio.FIRST_COMPLETED)
        await server.stop(None if self._stopped.is_set() else LAST_ANSWERS_S)
        for task in (ending, idle, stopped):
            task.cancel()

    def _server(self, service: Service) -> aio.Server:
        settings = self._settings
        server = aio.server(
            options=options_of(settings),
            maximum_concurrent_rpcs=requests_max(settings),
        )
        server.add_generic_rpc_handlers((service.handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        try:
            if self._certificate is None:
                self._port = server.add_insecure_port(self._address)
            else:
                credentials = _credentials(self._certificate)
                self._port = server.add_secure_port(self._address, credentials)
        except RuntimeError as error:
            raise GrpcListenError(str(error)) from None
        return server

    async def _set_health(self, is_ready: bool) -> None:
        statuses = health_pb2.HealthCheckResponse
        status = statuses.SERVING if is_ready else statuses.NOT_SERVING
        for name in ("", NAME):
            await self._health.set(name, status)
