"""A connector as a program: its signals, log and exit code."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from typing import Final, TypeAlias

import msgspec
import trio

from understudy.connectors.deliveries import AGAIN_MS, Deliveries
from understudy.connectors.port import QueueServer
from understudy.connectors.server_thread import ServerThread, open_server
from understudy.edge.brokers import Brokers, open_brokers
from understudy.edge.carrier import Carrier, open_carrier
from understudy.edge.stop import Stop
from understudy.errors import innermost
from understudy.logs import announce
from understudy.queues.addresses import EXTRAS, Server
from understudy.queues.obstacles import trouble
from understudy_broker.errors import LinkError
from understudy_broker.process import StopSignals, tune_collection

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
#: Deliveries under way for each broker. One place has half of that.
CREDIT: Final = 512
#: how long a broker may take to answer before the log says so
_PATIENCE_S: Final = 2.0
#: how often the log repeats that the server is away
_REPEAT_S: Final = 30.0

#: Given a function that stops the connector, watches for the supervisor's wish that it stops.
WatchSupervisor: TypeAlias = Callable[[Callable[[], None]], object]

#: the class that fills `port.QueueServer`, by the name of its module
_SERVERS: Final = {"rabbitmq": "RabbitServer", "nats": "NatsServer", "redis": "RedisServer"}

_LOG: Final = logging.getLogger("understudy.connectors")


class ConnectorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a connector.

    Attributes
    ----------
    server
        The server that it delivers to.
    queues
        Patterns of the queues that it delivers to.
    url
        The address of a broker, or several.
    edge_url
        The address of an edge, which the messages name; empty: none.
    again_ms
        When the offer of a task is made again whose message is in a queue, at the earliest.
    """

    server: Server
    queues: tuple[str, ...]
    url: str
    edge_url: str = ""
    again_ms: int = AGAIN_MS


def make_server(server: Server) -> QueueServer:
    """Return the server of a connector; its library must be installed.

    Raises
    ------
    ConfigurationError, ModuleNotFoundError
    """
    kind = EXTRAS[server.scheme]
    made: QueueServer = getattr(import_module(f"understudy.connectors.{kind}"), _SERVERS[kind])(
        server.url
    )
    return made


def run_connector(
    settings: ConnectorSettings, queues: QueueServer, watch: WatchSupervisor | None = None
) -> int:
    """Run a connector until a signal comes; must be called on the main thread.

    The first SIGINT, SIGTERM or SIGHUP has it finish what is under way; the second SIGINT or
    SIGTERM ends the process at once.

    Returns
    -------
    The exit code: 0 after a stop in order, 1 if a broker has refused it.
    """
    stop = Stop()
    with StopSignals(stop.request):
        if watch is not None:
            watch(stop.request)
        try:
            trio.run(_main, settings, queues, stop)
        except BaseExceptionGroup as group:
            cause = innermost(group)
            if not isinstance(cause, LinkError):
                raise
            announce(f"understudy connector: {cause}", logging.ERROR)
            return EXIT_FAILED
    return EXIT_OK


class _Availability:
    """Has the connector carry while the server is there, and says so in the log."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._away_told_at: float | None = None
        self._was_there = False
        self.carrier: Carrier | None = None
        self.is_there = False

    def on_ready(self) -> None:
        """Take deliveries."""
        self.is_there = True
        if self._away_told_at is not None or not self._was_there:
            _LOG.info("%s %s", self._label, "is back" if self._was_there else "answers")
        self._away_told_at = None
        self._was_there = True
        if self.carrier is not None:
            self.carrier.set_ready(True)

    def on_away(self, reason: str) -> None:
        """Take none."""
        self.is_there = False
        if self.carrier is not None:
            self.carrier.set_ready(False)
        now_s = trio.current_time()
        if self._away_told_at is None or now_s >= self._away_told_at + _REPEAT_S:
            _LOG.warning("%s", trouble(self._label, reason))
            self._away_told_at = now_s


async def _main(settings: ConnectorSettings, queues: QueueServer, stop: Stop) -> None:
    stopped = stop.attach()
    server = settings.server
    announce(
        f"understudy connector: {server.label}, queues {', '.join(settings.queues)}, for the "
        f"broker at {settings.url}"
    )
    availability = _Availability(server.label)
    async with (
        open_server(queues, availability.on_ready, availability.on_away) as thread,
        open_brokers(settings.url, role="connector") as brokers,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_tell_ready, brokers, settings.url)
        tune_collection()
        async with open_carrier(
            brokers,
            {server.scheme: _deliveries(settings, thread).deliver},
            CREDIT,
            server.places,
            ready=availability.is_there,
        ) as carrier:
            availability.carrier = carrier
            await stopped.wait()
            availability.carrier = None
        nursery.cancel_scope.cancel()


def _deliveries(settings: ConnectorSettings, thread: ServerThread) -> Deliveries:
    return Deliveries(
        settings.server,
        settings.queues,
        thread.put,
        again_ms=settings.again_ms,
        edge_url=settings.edge_url,
    )


async def _tell_ready(brokers: Brokers, url: str) -> None:
    """Say whether a broker answers."""
    with trio.move_on_after(_PATIENCE_S):
        await brokers.wait_ready()
    if not brokers.ready:
        _LOG.warning("no broker answers at %s yet", url)
        await brokers.wait_ready()
    _LOG.info("a broker answers at %s", url)
