"""The monitor of a node: what its listener for metrics and health answers.

The answers are made on the listener's thread, so that there is one even while functions block the
node: it then names them. Only code that holds Python's interpreter leaves it silent, which those
who ask take for bad health, too.
"""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from understudy.client.node_page import NodeNumbers, node_text
from understudy_actors.interpreter.ports import LOOPS
from understudy_actors.node.shell import NodeService
from understudy_actors.node.statistics import NodeStatistics
from understudy_broker.monitoring.exposition import CONTENT_TYPE
from understudy_broker.monitoring.histogram import Histogram
from understudy_broker.monitoring.listener import Answer, Listener, text_answer
from understudy_broker.monitoring.loop_probe import LoopBlockedError, LoopProbe
from understudy_broker.monitoring.process_numbers import process_text
from understudy_broker.transport.loop_lock import LoopThread

#: how long functions may block a loop, or all workers, until a node is taken for unhealthy
BLOCKED_S: Final = 5.0
#: how long the node's own loop may take to answer
LOOP_S: Final = 2.0


class _Counts(NamedTuple):
    """Numbers that only the loop may read."""

    statistics: NodeStatistics
    executions: dict[str, Histogram]


class NodeMonitor:
    """Answers of a node about itself.

    Parameters
    ----------
    loop
        The loop of the node.
    is_connected
        Returns whether a broker answers; any thread may ask.
    """

    def __init__(
        self, node: NodeService, loop: LoopThread, is_connected: Callable[[], bool]
    ) -> None:
        self._node = node
        self._is_connected = is_connected
        self._counts: LoopProbe[_Counts] = LoopProbe(self._count, LOOP_S, loop)

    def _count(self) -> _Counts:
        core = self._node.core
        return _Counts(core.statistics(), core.state.executions.copy())

    @property
    def pages(self) -> dict[str, Callable[[], Answer]]:
        """Answers by path."""
        return {
            "/metrics": self.metrics,
            "/health": self.health,
            "/live": self.live,
            "/ready": self.health,
        }

    def metrics(self) -> Answer:
        """Return the page of metrics; 503 while the node's own loop is blocked."""
        began = time.perf_counter()
        try:
            counts = self._counts()
        except LoopBlockedError as error:
            return text_answer(503, f"blocked: {error}")
        blockages = self._node.blockages
        blocked = [*blockages.loops(1.0), *blockages.workers(1.0)]
        text = node_text(
            NodeNumbers(
                group=self._node.core.state.env.group,
                connected=self._is_connected(),
                concurrency=self._node.config.concurrency,
                backlog=self._node.backlog,
                statistics=counts.statistics,
                executions=counts.executions,
                blocked=dict.fromkeys((*LOOPS, "workers"), 0.0)
                | {each.who: round(each.for_s, 1) for each in blocked},
                collections=tuple(each["collections"] for each in gc.get_stats()),
                lag_s=time.perf_counter() - began,
            )
        )
        return Answer(200, CONTENT_TYPE, f"{text}{process_text()}".encode())

    def live(self) -> Answer:
        """Say whether the loops turn: if not, only a restart helps."""
        return _answer("blocked", self._blocked_loops())

    def health(self) -> Answer:
        """Say whether the node can work: its loops turn, a worker is free, a broker answers."""
        reasons = self._blocked_loops()
        reasons += [each.text for each in self._node.blockages.workers(BLOCKED_S)]
        if not self._is_connected():
            reasons.append("no broker answers")
        return _answer("unhealthy", reasons)

    def _blocked_loops(self) -> list[str]:
        reasons = [each.text for each in self._node.blockages.loops(BLOCKED_S)]
        try:
            self._counts()
        except LoopBlockedError as error:
            reasons.append(str(error))
        return reasons


def _answer(word: str, reasons: list[str]) -> Answer:
    return text_answer(503, f"{word}: {'; '.join(reasons)}") if reasons else _HEALTHY


_HEALTHY: Final = text_answer(200, "healthy")


def show_node(
    sock: socket.socket, node: NodeService, loop: LoopThread, is_connected: Callable[[], bool]
) -> Listener:
    """Show the metrics and the health of a node at a socket; the parameters are `NodeMonitor`'s."""
    return Listener(sock, NodeMonitor(node, loop, is_connected).pages)
