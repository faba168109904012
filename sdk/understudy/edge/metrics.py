"""The metrics of an edge: its counts, the page that shows them, and answers about its health."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from understudy_broker.monitoring.exposition import (
    CONTENT_TYPE,
    Family,
    histograms_text,
    numbers_text,
)
from understudy_broker.monitoring.histogram import Histogram, Scale
from understudy_broker.monitoring.listener import Answer, text_answer
from understudy_broker.monitoring.loop_probe import LoopBlockedError, LoopProbe
from understudy_broker.monitoring.process_numbers import process_text
from understudy_broker.transport.loop_lock import LoopThread

#: how long the edge's loop may take to answer
BLOCKED_S: Final = 2.0
#: from 256 µs to 268 s; counted in microseconds
_ANSWERS: Final = Scale(0.000001, tuple(range(8, 29)))
#: methods that are counted by themselves; strangers choose the others
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

REQUESTS: Final = Family(
    "understudy_edge_requests_total",
    "counter",
    "Requests over HTTP that were answered, by the status of the answer.",
    ("method", "status"),
)
ANSWERED: Final = Family(
    "understudy_edge_request_seconds",
    "histogram",
    "Time until an answer began; requests that wait for a call take as long as that.",
    ("method",),
)
IN_FLIGHT: Final = Family(
    "understudy_edge_requests_in_flight", "gauge", "Requests and streams that are not over."
)
CONNECTED: Final = Family("understudy_edge_connected", "gauge", "1 while a broker answers.")
FAMILIES: Final = (REQUESTS, ANSWERED, IN_FLIGHT, CONNECTED)


class EdgeNumbers:
    """Counts of an edge.

    Attributes
    ----------
    requests
        Requests, by method and status.
    answered
        Microseconds until answers began, by method.
    in_flight
        Requests and streams that are not over.
    """

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str], int] = {}
        self.answered: dict[str, Histogram] = {}
        self.in_flight = 0

    def note(self, method: str, status: int, took_s: float) -> None:
        """Count an answer."""
        if method not in _METHODS:
            method = "other"
        key = method, str(status)
        self.requests[key] = self.requests.get(key, 0) + 1
        histogram = self.answered.get(method)
        if histogram is None:
            histogram = self.answered[method] = Histogram()
        histogram.observe(int(took_s * 1_000_000))


class Counted:
    """An application whose requests are counted."""

    def __init__(self, app: ASGIApp, numbers: EdgeNumbers) -> None:
        self._app = app
        self._numbers = numbers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        numbers, began = self._numbers, time.perf_counter()

        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start":
                took_s = time.perf_counter() - began
                numbers.note(scope["method"], message["status"], took_s)
            await send(message)

        numbers.in_flight += 1
        try:
            await self._app(scope, receive, send_and_count)
        finally:
            numbers.in_flight -= 1


def edge_text(numbers: EdgeNumbers, connected: bool) -> str:
    """Return the page."""
    return "".join(
        (
            numbers_text(REQUESTS, numbers.requests.copy()),
            histograms_text(
                ANSWERED,
                _ANSWERS,
                (((method,), each) for method, each in list(numbers.answered.items())),
            ),
            numbers_text(IN_FLIGHT, {(): numbers.in_flight}),
            numbers_text(CONNECTED, {(): int(connected)}),
        )
    )


class EdgeMonitor:
    """Answers of an edge about itself. Made on its loop.

    Parameters
    ----------
    is_connected
        Returns whether a broker answers; called on the loop.
    """

    def __init__(self, numbers: EdgeNumbers, is_connected: Callable[[], bool]) -> None:
        self._numbers = numbers
        self._connected = LoopProbe(is_connected, BLOCKED_S, LoopThread())

    @property
    def pages(self) -> dict[str, Callable[[], Answer]]:
        """Answers by path."""
        return {
            "/metrics": self.metrics,
            "/health": self.health,
            "/live": self.health,
            "/ready": self.ready,
        }

    def metrics(self) -> Answer:
        """Return the page of metrics; 503 while the loop is blocked."""
        try:
            text = edge_text(self._numbers, self._connected())
        except LoopBlockedError as error:
            return text_answer(503, f"blocked: {error}")
        return Answer(200, CONTENT_TYPE, f"{text}{process_text()}".encode())

    def health(self) -> Answer:
        """Say whether the loop turns."""
        try:
            self._connected()
        except LoopBlockedError as error:
            return text_answer(503, f"blocked: {error}")
        return text_answer(200, "healthy")

    def ready(self) -> Answer:
        """Say whether a broker answers."""
        try:
            connected = self._connected()
        except LoopBlockedError as error:
            return text_answer(503, f"blocked: {error}")
        if connected:
            return text_answer(200, "ready")
        return text_answer(503, "not ready: no broker answers")
