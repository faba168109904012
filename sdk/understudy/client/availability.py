"""The state of the brokers as seen from here: available, not yet, or not any more."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Final

import trio

from understudy.client.log import ConnectionLog
from understudy.client.requests import PendingRequests
from understudy.errors import BrokerUnavailableError
from understudy_actors.node.settlements import IsThere
from understudy_broker.errors import LinkError
from understudy_broker.link.link import Link

#: Seconds without a broker after which the log says so.
PATIENCE_S: Final = 1.0


class Availability:
    """Tracks whether brokers answer, and bounds the time that requests wait for them.

    Parameters
    ----------
    url
        The address that the process was given, for messages.
    connect_timeout_s
        Seconds without a broker after which requests fail with `BrokerUnavailableError`.
    requests
        The requests that fail then.

    Attributes
    ----------
    ready
        True once a broker has answered, until the connection fails for good. A lost connection
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
        self._nursery: trio.Nursery | None = None
        #: set when a broker has answered, and when none ever will
        self._decided = threading.Event()
        #: set when the connection of a link was lost
        self._disconnected: dict[Link, trio.Event] = {}

    # From any thread -----------------------------------------------------------------------------

    def wait(self, timeout_s: float | None = None) -> None:
        """Return when the broker has answered; see `Connection.wait_connected`."""
        limit_s = self._connect_timeout_s if timeout_s is None else timeout_s
        if not self._decided.wait(limit_s):
            # A copy, because the loop may add a link meanwhile.
            reasons = [reason for link in list(self._disconnected) if (reason := _reason(link))]
            raise BrokerUnavailableError(self._url, "; ".join(reasons))
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

    def open(self, nursery: trio.Nursery) -> None:
        """Take the nursery in which links are watched."""
        self._nursery = nursery

    def add(self, link: Link, is_there: IsThere) -> None:
        """Watch a link, before it connects.

        Parameters
        ----------
        is_there
            Returns whether the promise of an id is at the broker of the link.
        """
        self._disconnected[link] = trio.Event()
        assert self._nursery is not None
        self._nursery.start_soon(self._watch, link, is_there)

    def on_connected(self) -> None:
        """Note that a broker has answered."""
        if not self.ready:
            self.ready = True
            self._decided.set()

    def on_disconnected(self, link: Link) -> None:
        """Note that a connection was lost."""
        self._disconnected[link].set()

    async def _watch(self, link: Link, is_there: IsThere) -> None:
        """Log that a broker does not answer, and fail the requests that have waited too long."""
        with suppress(LinkError):
            while True:
                await self._wait_connected(link, is_there)
                while link.connected:
                    self._disconnected[link] = trio.Event()
                    await self._disconnected[link].wait()
        del self._disconnected[link]

    @property
    def _others_answer(self) -> bool:
        """True if a broker answers; asked about one that does not."""
        return any(link.connected for link in self._disconnected)

    async def _wait_connected(self, link: Link, is_there: IsThere) -> None:
        with trio.move_on_after(PATIENCE_S):
            await link.wait_connected()
        if not link.connected:
            left_s = max(0.0, self._connect_timeout_s - PATIENCE_S)
            answers = None if self.ready else left_s
            others = self._others_answer
            self._log.unavailable(link.url, answers, _reason(link), others_answer=others)
            with trio.move_on_after(left_s):
                await link.wait_connected()
        if not link.connected:
            error = BrokerUnavailableError(link.url, _reason(link), self._others_answer)
            self._requests.fail_unanswered(error, is_there)
            with trio.move_on_after(self._connect_timeout_s):
                await link.wait_connected()


def _reason(link: Link) -> str:
    error = link.last_error or ""
    # `BrokerUnavailableError` itself says that no broker answers.
    return "" if error.startswith("no broker answers") else error
