"""The dashboard as a program: its socket, signals, first line and exit code."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Final

import trio

from understudy.edge.address import place
from understudy.edge.brokers import open_brokers
from understudy.edge.server import bind, serve
from understudy.edge.stop import Stop
from understudy.edge.tls import Certificate
from understudy.edge.tokens.gate import TokenGate
from understudy.errors import innermost
from understudy.ui.app import make_app
from understudy.ui.ports import BrokersPort, HistoryPort, Port, StorePort
from understudy.ui.settings import UiSettings
from understudy.ui.throughput import LookAtBrokers, Sampler
from understudy.ui.ui import Ui
from understudy_broker.errors import LinkError
from understudy_broker.process import StopSignals

if TYPE_CHECKING:
    from understudy_store.engines.sqlite.store_reader import StoreReader

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
#: what the dashboard introduces itself as
ROLE: Final = "ui"


def run_ui(
    settings: UiSettings,
    look: LookAtBrokers,
    watch: Callable[[Callable[[], None]], object] | None = None,
    on_ready: Callable[[str], object] | None = None,
) -> int:
    """Run a dashboard until a signal comes; must be called on the main thread.

    Parameters
    ----------
    look
        Asks each broker of a deployment by itself.
    watch
        Given a function that stops it, watches for the supervisor's wish that it stops.
    on_ready
        Given the address of the first page, once it can be asked for.

    Returns
    -------
    The exit code: 0 after a stop in order, 1 if it could not listen or a broker has refused it.
    """
    stop = Stop()
    with StopSignals(stop.request):
        if watch is not None:
            watch(stop.request)
        gate = None if settings.tokens is None else TokenGate(settings.tokens)
        certificate = None if settings.tls is None else Certificate(*settings.tls)
        try:
            sock = bind(settings.host, settings.port)
        except OSError as error:
            where = place(settings.host, settings.port)
            text = f"it cannot listen at {where}: {error.strerror}. Give another with --listen"
            print(f"understudy ui: {text}", file=sys.stderr)
            return EXIT_FAILED
        try:
            trio.run(_main, settings, look, gate, certificate, sock, stop, on_ready)
        except BaseExceptionGroup as group:
            cause = innermost(group)
            if not isinstance(cause, LinkError):
                raise
            print(f"understudy ui: {cause}", file=sys.stderr)
            return EXIT_FAILED
    return EXIT_OK


async def _main(
    settings: UiSettings,
    look: LookAtBrokers,
    gate: TokenGate | None,
    certificate: Certificate | None,
    sock: socket,
    stop: Stop,
    on_ready: Callable[[str], object] | None,
) -> None:
    stopped = stop.attach()
    async with _open(settings, look) as (port, sampler), trio.open_nursery() as nursery:
        ui = Ui(settings, port, sampler, gate)
        if sampler is not None:
            nursery.start_soon(sampler.run)
        nursery.start_soon(ui.jobs.run)
        if gate is not None:
            nursery.start_soon(gate.run)
        if certificate is not None:
            nursery.start_soon(certificate.watch)

        async def until() -> None:
            await stopped.wait()
            ui.draining.set()

        scheme = "http" if certificate is None else "https"
        url = f"{scheme}://{place(*sock.getsockname()[:2])}"
        what = "the broker at" if port.kind == "broker" else "the file"
        print(f"understudy ui: {url} for {what} {port.name}", flush=True)
        if on_ready is not None:
            on_ready(url)
        tls = None if certificate is None else certificate.context
        await serve(make_app(ui), sock, settings.limits, until, tls)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _open(
    settings: UiSettings, look: LookAtBrokers
) -> AsyncIterator[tuple[Port, Sampler | None]]:
    """Open what the pages show."""
    if settings.history is not None:
        yield HistoryPort(settings.history), None
    elif settings.store is not None:
        with _reader(settings.store) as reader:
            yield StorePort(reader), None
    else:
        async with open_brokers(settings.url, settings.patience_s, ROLE) as brokers:
            port = BrokersPort(brokers, settings.url)
            yield port, Sampler(port, settings.url, look)


def _reader(store: Path) -> StoreReader:
    # Imported here, because it needs a database's library, which a live dashboard does not.
    from understudy_store.engines.sqlite.store_reader import StoreReader

    return StoreReader(store)
