"""The state of the broker as seen from here: available, not yet, or not any more."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Final

import trio

from understudy.client.log import ConnectionLog
from understudy.client.requests import PendingRequests
from understudy.errors import BrokerUnavailableError
from understudy_broker.errors import LinkError
from understudy_broker.link.link import Link

#: Seconds without a broker after which the log says so.
PATIENCE_S: Final = 1.0


class Availability:
    """Tracks whether the broker answers, and bounds the time that requests wait for it.

    Parameters
    ----------
    url
        The broker's address, for messages.
    connect_timeout_s
        Seconds without a broker after which requests fail with `BrokerUnavailableError`.
    requests
        The requests that fail then.

    Attributes
    ----------
    ready
        True once the broker has answered, until the connection fails for good. A lost connection
        that is being opened again does not count: requests wait for it.
    failure
        The error that has ended the connection for good.
    """

    def __init__(
        self, url: str, connect_timeout_s: float, requests: PendingRequests, log: ConnectionLog
    ) -> None:
        self.ready = False
        self.failure: BaseException | None = None
        self._url = url
        self._connect_timeout_s = connect_timeout_s
        self._requests = requests
        self._log = log
        self._link: Link | None = None
        #: set when the broker has answered, and when it never will
        self._decided = threading.Event()
        self._disconnected = trio.Event()

    # From any thread -----------------------------------------------------------------------------

    def wait(self, timeout_s: float | None = None) -> None:
        """Return when the broker has answered; see `Connection.wait_connected`."""
        limit_s = self._connect_timeout_s if timeout_s is None else timeout_s
        if not self._decided.wait(limit_s):
            raise BrokerUnavailableError(self._url, self._reason())
        self.check()

    def check(self) -> None:
        """Raise the error that has ended the connection for good, if there is one."""
        if self.failure is not None:
            raise self.failure

    def fail(self, error: BaseException) -> None:
        """Note that the connection has ended for good."""
        self.failure = error
        self.ready = False
        self._decided.set()

    # On the loop ---------------------------------------------------------------------------------

    def on_connected(self) -> None:
        """Note that the broker has answered."""
        if not self.ready:
            self.ready = True
            self._decided.set()

    def on_disconnected(self) -> None:
        """Note that the connection was lost."""
        self._disconnected.set()

    async def watch(self, link: Link) -> None:
        """Log that no broker answers, and fail the requests that have waited for too long."""
        self._link = link
        with suppress(LinkError):
            while True:
                await self._wait_connected(link)
                while link.connected:
                    self._disconnected = trio.Event()
                    await self._disconnected.wait()

    async def _wait_connected(self, link: Link) -> None:
        with trio.move_on_after(PATIENCE_S):
            await link.wait_connected()
        if not link.connected:
            left_s = max(0.0, self._connect_timeout_s - PATIENCE_S)
            self._log.unavailable(self._url, None if self.ready else left_s, self._reason())
            with trio.move_on_after(left_s):
                await link.wait_connected()
        if not link.connected:
            error = BrokerUnavailableError(self._url, self._reason())
            self._requests.fail_unanswered(error)
            with trio.move_on_after(self._connect_timeout_s):
                await link.wait_connected()

    def _reason(self) -> str:
        error = (self._link.last_error if self._link is not None else None) or ""
        # `BrokerUnavailableError` itself says that no broker answers.
        return "" if error.startswith("no broker answers") else error
