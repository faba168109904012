"""The state of an edge that the handlers of all protocols share."""

from __future__ import annotations

import trio

from understudy.edge.brokers import Brokers
from understudy.edge.resonate.debug import DebugPerformer
from understudy.edge.settings import EdgeSettings


class Edge:
    """The state that the handlers of all protocols share.

    Attributes
    ----------
    debug
        Performs the Resonate protocol without a broker; None: brokers do.
    draining
        Set once the edge is to end: streams end, and nothing waits any longer.
    tunnels
        Open tunnels of nodes and clients.
    """

    def __init__(
        self, brokers: Brokers, settings: EdgeSettings, debug: DebugPerformer | None = None
    ) -> None:
        self.debug = debug
        self.brokers = brokers
        self.settings = settings
        self.draining = trio.Event()
        self.tunnels = 0
