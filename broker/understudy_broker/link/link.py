"""A link: what a peer asks its broker through.

What was asked and not answered when a connection ends is sent again on the next. Everything is
called, and calls back, on the one trio loop that opened the link.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
import zmq

from understudy_broker.errors import LinkClosedError
from understudy_broker.link.connection import HelloFactory, LinkConnection, OnMessages
from understudy_broker.link.session import Answer, LinkStatistics, OnReply
from understudy_broker.protocol.messages import AnyCommand, ToBroker, Welcome


class Link(LinkConnection):
    """See `open_link`. All methods belong to the trio loop that opened it.

    Attributes
    ----------
    connected
        Whether the broker has welcomed this connection.
    last_error
        Why it is not connected, in words; None if nothing went wrong.
    """

    @property
    def last_error(self) -> str | None:
        return self._core.last_error

    @property
    def welcome(self) -> Welcome | None:
        """What the broker said last: this peer's pid, lease, bounds."""
        return self._core.welcome

    @property
    def unanswered(self) -> int:
        return self._core.unanswered

    @property
    def round_trip_ms(self) -> int:
        """From the last hello to its welcome."""
        return self._core.round_trip_ms

    def request(self, command: AnyCommand, on_reply: OnReply) -> int:
        """Ask; `on_reply` gets the `Response` or `Refused`, once. Returns the request's `corr`.

        Whatever is asked in one turn of the loop travels in one frame. While there is no broker,
        requests wait.

        Raises
        ------
        LinkFullError
            Too many requests are unanswered; see `wait_for_room`.
        LinkClosedError, NameInUseError, ProtocolMismatchError, HelloRefusedError
            The link is over.
        """
        self._check_open()
        corr = self._core.request(command, on_reply)
        self._kick()
        return corr

    def forget(self, corr: int) -> None:
        """Do not call back for this request."""
        self._core.forget(corr)

    def send(self, message: ToBroker) -> bool:
        """Send what is no request; False (and dropped) while not connected."""
        sent = self._core.send(message)
        if sent:
            self._kick()
        return sent

    def rejoin(self) -> None:
        """Connect anew and say `Hello` again, at once: what this peer is has changed."""
        self._rejoining = True
        self._core.rejoin()
        # also while corked: this is nothing that `uncork` would send
        if self._socket is not None:
            self._socket.wake()

    async def call(self, command: AnyCommand) -> Answer:
        """Ask, wait for room if there is none, and return the answer."""
        await self.wait_for_room()
        answers: list[Answer] = []
        done = trio.Event()

        def on_reply(answer: Answer) -> None:
            answers.append(answer)
            self._on_loop(done.set)

        corr = self.request(command, on_reply)
        self._calls.add(done)
        try:
            await done.wait()
        finally:
            self._calls.discard(done)
            if not answers:
                self.forget(corr)
        if not answers:
            self._check_open()
        return answers[0]

    async def wait_for_room(self, unanswered_max: int | None = None) -> None:
        """Return when fewer than `unanswered_max` (default: the bound) requests are unanswered."""
        bound = self._core.backlog_max if unanswered_max is None else unanswered_max
        while self._core.unanswered >= bound:
            self._check_open()
            await self._change()

    async def wait_connected(self) -> Welcome:
        """Return when the broker has welcomed this peer; raises if it never will."""
        while True:
            self._check_open()
            if self._core.connected and self._core.welcome is not None:
                return self._core.welcome
            await self._change()

    def statistics(self) -> LinkStatistics:
        return self._core.statistics()

    def _check_open(self) -> None:
        if self._core.failure is not None:
            raise self._core.failure
        if self._closed:
            raise LinkClosedError("the link is closed")


@asynccontextmanager
async def open_link(
    url: str,
    hello_factory: HelloFactory,
    on_messages: OnMessages,
    *,
    context: zmq.Context[Any] | None = None,
    on_connected: Callable[[Welcome], None] | None = None,
    on_disconnected: Callable[[str], None] | None = None,
    backlog_max: int = 65_536,
    engaged: Callable[[], bool] | None = None,
) -> AsyncIterator[Link]:
    """Keep a link to the broker at `url` while the block runs; it says `Bye` at the end.

    Parameters
    ----------
    url
        ``tcp://host:port``, ``ipc://path``, or ``inproc://name`` with the broker's own `context`.
    hello_factory
        Called at each connect: who this is, with the claims and the credit of that moment.
    on_messages
        Gets everything that is no answer: invokes, resumes, settlements, revocations, unblocks, and
        refusals that concern no request.
    on_connected, on_disconnected
        Called with the welcome, before anything else of that connection; and with the reason.
    backlog_max
        Requests that may be unanswered here, sent or not.
    engaged
        Whether this peer holds tasks or waits for settlements: while it does neither, it gives its
        signs of life more rarely. By default it counts as doing so all the time.

    Raises
    ------
    NameInUseError, ProtocolMismatchError, HelloRefusedError, LinkError
        From the block, in an exception group, when the broker refuses this peer for good, or
        `url` is no address.
    """
    own = zmq.Context() if context is None else None
    link = Link(
        url,
        hello_factory,
        on_messages,
        context=context or own or zmq.Context(),
        on_connected=on_connected,
        on_disconnected=on_disconnected,
        backlog_max=backlog_max,
        engaged=engaged,
    )
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            yield link
            nursery.cancel_scope.cancel()
    finally:
        if own is not None:
            own.term()
