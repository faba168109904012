"""`Link`: the object through which a peer calls its broker. `open_link` opens one.

Requests that are unanswered when a connection ends are sent again on the next one. All methods
belong to the trio loop that opened the link, and callbacks are called on it. The exceptions are
`poll` and `interrupt`, which other threads may call, and `cork`, `uncork`, `request` and `send`,
which a thread may call while it holds the loop's `LoopLock`; callbacks are then called on it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
import zmq

from understudy_broker.errors import LinkClosedError
from understudy_broker.link.connection import HelloFactory, LinkConnection, OnMessages
from understudy_broker.link.session import Answer, LinkSession, LinkStatistics, OnReply
from understudy_broker.link.way import DIRECT, Way
from understudy_broker.protocol.messages import AnyCommand, ToBroker, Welcome


class Link:
    """A link over a connection; see `open_link`.

    Attributes
    ----------
    connection
        The connection, which carries the session.
    amend, take_back, cork, uncork, poll, interrupt, rejoin
        The methods of `LinkSession` and `LinkConnection`. They are attributes, because a method
        that only calls another would cost each batch of messages as much as processing a message.
    """

    def __init__(self, connection: LinkConnection) -> None:
        self.connection = connection
        self.cork = connection.cork
        self.uncork = connection.uncork
        self.poll = connection.poll
        self.interrupt = connection.interrupt
        self.rejoin = connection.rejoin
        self._session: LinkSession = connection.session
        self.amend = connection.session.amend
        self.take_back = connection.session.take_back
        #: events of the tasks in `call`
        self._calls: set[trio.Event] = set()

    # State ---------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """True if the broker has welcomed the present connection."""
        return self._session.connected

    @property
    def url(self) -> str:
        """The address of the broker."""
        return self.connection.url

    @property
    def last_error(self) -> str | None:
        """Why the link is not connected, in words; None if nothing went wrong."""
        return self._session.last_error

    @property
    def broker_left(self) -> bool:
        """True if the broker has said goodbye on the present connection, or on the last one."""
        return self._session.broker_left

    @property
    def rejoins(self) -> bool:
        """True while this peer itself replaces the connection by a new one."""
        return self.connection.rejoining

    @property
    def welcome(self) -> Welcome | None:
        """The broker's last welcome: this peer's pid, lease, and bounds."""
        return self._session.welcome

    @property
    def unanswered(self) -> int:
        """The number of requests without an answer."""
        return self._session.unanswered

    @property
    def round_trip_ms(self) -> int:
        """The time between the last hello and its welcome."""
        return self._session.round_trip_ms

    def statistics(self) -> LinkStatistics:
        """Return the numbers of this moment."""
        return self._session.statistics()

    # Requests and messages -----------------------------------------------------------------------

    def request(self, command: AnyCommand, on_reply: OnReply) -> int:
        """Send a command. Without a connection it waits for one.

        All requests between two pauses of the loop, or between `cork` and `uncork`, travel in one
        frame.

        Parameters
        ----------
        command
            The command.
        on_reply
            Called once, with the `Response` or `Refused`.

        Returns
        -------
        int
            The request's correlation number, for `forget`.

        Raises
        ------
        LinkFullError
            Too many requests are unanswered; see `wait_for_room`.
        LinkClosedError, NameInUseError, ProtocolMismatchError, HelloRefusedError
            The link has ended.
        """
        connection, session = self.connection, self._session
        if session.failure is not None or connection.closed:
            self._raise_ended()
        corr = session.request(command, on_reply)
        if not connection.corked:
            connection.wake()
        return corr

    def forget(self, corr: int) -> None:
        """Ignore the answer of a request."""
        self._session.forget(corr)

    def send(self, message: ToBroker) -> bool:
        """Send a message that is no request; drop it and return False while not connected."""
        sent = self._session.send(message)
        if sent and not self.connection.corked:
            self.connection.wake()
        return sent

    async def call(self, command: AnyCommand) -> Answer:
        """Send a command and return its answer; wait for room first, if there is none.

        Raises
        ------
        LinkClosedError, NameInUseError, ProtocolMismatchError, HelloRefusedError
            The link has ended.
        """
        await self.wait_for_room()
        answers: list[Answer] = []
        done = trio.Event()

        def on_reply(answer: Answer) -> None:
            answers.append(answer)
            self.connection.loop.run(done.set)

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

    # Waiting -------------------------------------------------------------------------------------

    async def wait_for_room(self, unanswered_max: int | None = None) -> None:
        """Return when fewer than `unanswered_max` requests are unanswered.

        By default that is the link's own bound, so that the next `request` finds room.
        """
        bound = self._session.backlog_max if unanswered_max is None else unanswered_max
        while self._session.unanswered >= bound:
            self._check_open()
            await self.connection.wait_for_change()

    async def wait_connected(self) -> Welcome:
        """Return the welcome when the broker has welcomed this peer; raise if it never will."""
        while True:
            self._check_open()
            if self._session.connected and self._session.welcome is not None:
                return self._session.welcome
            await self.connection.wait_for_change()

    async def run(self) -> None:
        """Keep the connection up, until canceled or refused for good; then end all calls."""
        try:
            await self.connection.run()
        finally:
            for done in self._calls:
                done.set()

    def _check_open(self) -> None:
        if self._session.failure is not None or self.connection.closed:
            self._raise_ended()

    def _raise_ended(self) -> None:
        if self._session.failure is not None:
            raise self._session.failure
        raise LinkClosedError("the link is closed")


@asynccontextmanager
async def open_link(
    url: str,
    hello_factory: HelloFactory,
    on_messages: OnMessages,
    *,
    context: zmq.Context[zmq.Socket[bytes]] | None = None,
    on_connected: Callable[[Welcome], None] | None = None,
    on_disconnected: Callable[[str], None] | None = None,
    backlog_max: int = 65_536,
    is_busy: Callable[[], bool] | None = None,
    leaves: Callable[[], bool] = lambda: True,
    way: Way = DIRECT,
) -> AsyncIterator[Link]:
    """Keep a link to the broker at `url` while the block runs, and say `Bye` at its end.

    Parameters
    ----------
    url
        ``tcp://host:port``, ``ipc://path``, or ``inproc://name`` with the broker's own `context`;
        or several with commas between them, of which any will do.
    hello_factory
        Called at each connect. Returns this peer's hello, with its present claims and credit.
    on_messages
        Called with everything that is no answer to a request: invokes, resumes, settlements,
        revocations, unblocks, and refusals that concern no request.
    context
        A ZeroMQ context; by default the link has its own.
    on_connected
        Called with each welcome, before any other message of that connection.
    on_disconnected
        Called with the reason when a connection that was welcomed has ended.
    backlog_max
        Requests that may be unanswered, sent or not.
    is_busy
        Returns whether this peer holds tasks or waits for settlements. While it does neither,
        heartbeats are rarer. By default it always does.
    leaves
        Returns whether this peer leaves in order, if the link ends now. Otherwise it says no `Bye`,
        and the broker counts the end as a crash during the tasks that the peer holds.
    way
        How to reach the address.

    Raises
    ------
    NameInUseError, ProtocolMismatchError, HelloRefusedError, LinkError
        From the block, in an exception group, when the broker refuses this peer for good, or
        `url` is no address.
    """
    own = zmq.Context() if context is None else None
    connection = LinkConnection(
        url,
        LinkSession(backlog_max=backlog_max, is_busy=is_busy),
        hello_factory,
        on_messages,
        context=context or own or zmq.Context(),
        on_connected=on_connected,
        on_disconnected=on_disconnected,
        leaves=leaves,
        way=way,
    )
    link = Link(connection)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            yield link
            nursery.cancel_scope.cancel()
    finally:
        if own is not None:
            own.term()
