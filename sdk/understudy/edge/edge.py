"""The state of an edge that the handlers of all protocols share."""

from __future__ import annotations

from functools import partial

import trio

from understudy.edge.brokers import Brokers
from understudy.edge.budgets import BODIES_BYTES_MAX, Budget
from understudy.edge.resonate.debug import DebugPerformer
from understudy.edge.resonate.event_streams import EventStreams
from understudy.edge.resonate.legacy.clients import Clients
from understudy.edge.resonate.link import connect_streams, serve_refusal
from understudy.edge.settings import EdgeSettings
from understudy.edge.tls import Certificate
from understudy.edge.tokens.gate import TokenGate


class Edge:
    """The state that the handlers of all protocols share.

    Attributes
    ----------
    debug
        Performs the Resonate protocol without a broker; None: brokers do.
    draining
        Set once the edge is to end: streams end, and nothing waits any longer.
    bodies
        The bytes of bodies that requests hold.
    tunnels
        Open tunnels of nodes and clients.
    streams, events
        The event streams of the Resonate protocol, and what opens them.
    gate
        The tokens that are taken; None: none are asked for.
    certificate
        That of its servers; None: connections are in clear.
    clients
        What is remembered of clients of its older REST.
    """

    def __init__(
        self,
        brokers: Brokers,
        settings: EdgeSettings,
        debug: DebugPerformer | None = None,
        gate: TokenGate | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        self.gate = gate
        self.certificate = certificate
        self.debug = debug
        self.brokers = brokers
        self.settings = settings
        self.draining = trio.Event()
        self.bodies = Budget(BODIES_BYTES_MAX)
        self.tunnels = 0
        self.streams = connect_streams(brokers) if debug is None else debug.streams
        self.clients = Clients(self.streams.address_of)
        refusal = partial(serve_refusal, brokers)
        self.events = EventStreams(self.streams, self.draining, settings.streams_max, refusal)
