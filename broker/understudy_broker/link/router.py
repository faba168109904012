"""`Router`: the links of a peer to all brokers of its deployment. `open_router` opens one.

A peer knows an address at first, and connects to the broker that answers there. Where brokers share
the work, its welcome has the map of slots, and the router opens a link to each of the others;
`routing` says which request goes where. A deployment of one broker has one link, and its messages
take the same way as if there were no router.

Each link lives by itself: if a broker is away, the peer goes on with the others. Requests to that
broker wait until it is back, or until a newer map gives its slots to others.

If none of the brokers that the peer knows of answers, others may have taken their places before it
was told. So it then also asks at the addresses that it was given at first. The broker that answers
there tells the newest map. It is asked for nothing else, because each broker of the map has a link
of its own.

All methods belong to the loop that opened the router, or to a thread that holds its `LoopLock`, as
those of `Link`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

import trio
import zmq

from understudy_broker.link.arrivals import Arrivals
from understudy_broker.link.connection import LinkConnection
from understudy_broker.link.link import Link
from understudy_broker.link.routing import Routing
from understudy_broker.link.session import LinkSession, OnReply
from understudy_broker.link.way import DIRECT, Way
from understudy_broker.protocol.messages import (
    AnyCommand,
    Hello,
    SlotMap,
    ToPeer,
    Welcome,
)
from understudy_broker.transport.loop_lock import LoopLock, LoopThread

#: how long a request for a slot that nobody owns waits until it is tried again
RETRY_S: Final = 0.1
#: how long no broker answers until the addresses are asked that were given at first
SEEK_S: Final = 2.0


class PeerPort(Protocol):
    """The peer, as its router calls it: on the loop, or on a thread that holds the `LoopLock`."""

    def hello(self, link: Link) -> Hello:
        """Introduce this peer to the broker of a link, with its claims and credit there."""

    def on_messages(self, link: Link, messages: list[ToPeer]) -> None:
        """Take everything that is no answer to a request."""

    def on_connected(self, link: Link, welcome: Welcome) -> None:
        """Take each welcome, before any other message of that connection."""

    def on_disconnected(self, link: Link, why: str) -> None:
        """Take the end of a connection that was welcomed."""

    def on_link(self, link: Link) -> None:
        """Take a new link, before it connects; called on the loop's thread."""

    def on_gone(self, link: Link) -> None:
        """Forget a link: its broker has left the deployment, or the router ends."""

    def is_busy(self) -> bool:
        """Return whether this peer holds tasks or waits for settlements."""

    def on_map(self, link: Link, slots: SlotMap) -> None:
        """Take a map of slots, newer or not, as the broker of a link tells it."""

    def minds_moves(self) -> bool:
        """Return whether a broker is to be joined anew to which more slots have come."""

    def leaves(self) -> bool:
        """Return whether this peer leaves in order, if its links end now."""


class Router:
    """The links to all brokers; see `open_router`.

    Attributes
    ----------
    links
        All links; the first is the one to the broker that answered first.
    request, owns
        The methods of `Routing`, as attributes for the sake of speed.
    """

    def __init__(
        self,
        url: str,
        peer: PeerPort,
        context: zmq.Context[zmq.Socket[bytes]],
        nursery: trio.Nursery,
        backlog_max: int,
        way: Way = DIRECT,
    ) -> None:
        self._peer = peer
        self._way = way
        self._context = context
        self._nursery = nursery
        self._backlog_max = backlog_max
        self._loop = LoopThread()
        #: as it was given
        self._url = url
        #: set when a connection has ended
        self._lost = trio.Event()
        #: the link that asks there whoever answers
        self._seeker: Link | None = None
        #: of the first broker that answered; the others must have the same
        self._deployment: str | None = None
        self._scopes: dict[Link, trio.CancelScope] = {}
        #: set while requests wait for an owner of their slot
        self._retry_needed = trio.Event()
        first = self._new_link(url)
        self.links = [first]
        self._routing = Routing(first, backlog_max, self._on_waiting)
        self._arrivals = Arrivals(self._routing)
        self.request = self._routing.request
        self.owns = self._routing.owns
        #: the link that the last message came over: the next one probably comes over it, too
        self._liveliest = first
        self._start(first)
        nursery.start_soon(self._retry)
        nursery.start_soon(self._seek)

    # State ---------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """True if a broker has welcomed this peer and the connection stands."""
        return any(link.connected for link in self.links)

    # All links -----------------------------------------------------------------------------------

    def amend(self, change: Callable[[AnyCommand], AnyCommand]) -> None:
        """Change the commands of all unanswered requests; see `LinkSession.amend`."""
        for link in self.links:
            link.amend(change)

    def cork(self) -> None:
        """Hold messages back until `uncork`."""
        for link in self.links:
            link.cork()

    def uncork(self) -> None:
        """Send at once what was held back, in one frame for each broker."""
        for link in self.links:
            link.uncork()

    def rejoin(self) -> None:
        """Replace the connections by new ones at once, with new hellos."""
        for link in self.links:
            if link.connected:
                link.rejoin()

    def poll(self, loop_lock: LoopLock, timeout_s: float, on_polled: Callable[[], None]) -> bool:
        """Poll the link that the last message came over; see `LinkConnection.poll`."""
        return self._liveliest.poll(loop_lock, timeout_s, on_polled)

    def interrupt(self) -> None:
        """Make the thread in `poll` return."""
        for link in self.links:
            link.interrupt()

    # Links ---------------------------------------------------------------------------------------

    def _new_link(self, url: str) -> Link:
        peer = self._peer
        session = LinkSession(
            backlog_max=self._backlog_max,
            is_busy=peer.is_busy,
            check_welcome=lambda welcome: self._check_welcome(link, welcome),
            on_slots=lambda slots: self._on_slots(link, slots),
            on_moved=lambda command, on_reply: self._on_moved(link, command, on_reply),
        )
        link = Link(
            LinkConnection(
                url,
                session,
                lambda: peer.hello(link),
                lambda messages: self._on_messages(link, messages),
                context=self._context,
                on_connected=lambda welcome: self._on_connected(link, welcome),
                on_disconnected=lambda why: self._on_disconnected(link, why),
                leaves=peer.leaves,
                way=self._way,
            )
        )
        return link

    def _check_welcome(self, link: Link, welcome: Welcome) -> str | None:
        """Return what is wrong if another broker answers than the one that is meant.

        Its store would not know the promises of this peer, and would take what it is given.
        """
        if self._deployment is not None and welcome.deployment != self._deployment:
            return (
                f"the broker at {link.url} is one of another deployment ({welcome.deployment!r}, "
                f"and not {self._deployment!r}): check the address"
            )
        name = next((name for name, port in self._routing.ports.items() if port is link), None)
        if link is self._seeker:
            self._found(welcome)
        if name is not None and welcome.broker != name:
            return (
                f"the broker at {link.url} is {welcome.broker!r}, but the map of slots says that "
                f"{name!r} is there: check the addresses of the brokers"
            )
        return None

    def _start(self, link: Link) -> None:
        # Made here, because the next map may end the link before it has begun to run.
        scope = self._scopes[link] = trio.CancelScope()
        self._nursery.start_soon(self._run, link, scope)

    async def _run(self, link: Link, scope: trio.CancelScope) -> None:
        self._peer.on_link(link)
        try:
            with scope:
                await link.run()
        finally:
            self._arrivals.forget(link)
            self._peer.on_gone(link)

    def _on_messages(self, link: Link, messages: list[ToPeer]) -> None:
        self._liveliest = link
        self._peer.on_messages(link, messages)

    def _on_connected(self, link: Link, welcome: Welcome) -> None:
        if welcome.slots is not None:
            self._take_map(welcome.slots, welcome.broker)
            self._arrivals.welcomed(link, welcome.slots, welcome.broker)
        if self._deployment is None:
            # From now on, a broker that answers in the place of this one is no substitute.
            self._deployment = welcome.deployment
        self._peer.on_connected(link, welcome)
        self._routing.retry()

    def _on_disconnected(self, link: Link, why: str) -> None:
        self._loop.run(self._lost.set)
        self._peer.on_disconnected(link, why)

    # Brokers that nobody has told of -------------------------------------------------------------

    async def _seek(self) -> None:
        """Ask the addresses that were given at first while no broker of the map answers."""
        while True:
            await self._lost.wait()
            self._lost = trio.Event()
            await trio.sleep(SEEK_S)
            while self._routing.ports and not self.connected:
                if self._seeker not in self.links:
                    link = self._seeker = self.links[0]
                    link.connection.aim_at(f"{link.url},{self._url}")
                await trio.sleep(SEEK_S)
            self._end_seek()

    def _found(self, welcome: Welcome) -> None:
        """Take the map of whoever has answered."""
        if welcome.slots is not None:
            self._take_map(welcome.slots)
        self._end_seek()

    def _end_seek(self) -> None:
        """Let the link lead to its own broker again."""
        link, self._seeker = self._seeker, None
        name = next((name for name, port in self._routing.ports.items() if port is link), None)
        slots = self._routing.slots
        address = None if slots is None or name is None else dict(slots.brokers).get(name)
        if link is not None and address is not None:
            link.connection.aim_at(address)

    # The map -------------------------------------------------------------------------------------

    def _on_slots(self, link: Link, slots: SlotMap) -> None:
        """Take a map that a broker tells; join that broker anew if more slots have come to it."""
        self._take_map(slots)
        self._peer.on_map(link, slots)
        welcome = link.connection.session.welcome
        if welcome is None:
            return
        come = self._arrivals.told(link, slots, welcome.broker)
        if come and (self._peer.minds_moves() or self._routing.waits_for(come)):
            link.rejoin()

    def _on_moved(self, link: Link, command: AnyCommand, on_reply: OnReply) -> None:
        """Let a command that was refused go to another broker, or wait."""
        self._routing.moved(link, command, on_reply)
        if self._arrivals.contradicts(link, command):
            link.rejoin()

    def _take_map(self, slots: SlotMap, broker: str | None = None) -> None:
        """Route by a newer map. Links are opened and ended on the loop's thread."""
        if self._routing.take_map(slots, broker):
            self._loop.run(self._follow_map)

    def _follow_map(self) -> None:
        """Give each broker a link, to the address that the map has, and end those to others."""
        slots = self._routing.slots
        assert slots is not None
        known = dict(slots.brokers)
        if not known:
            return  # those that there were may come back, and no others can be found by now
        for name, address in known.items():
            known_link = self._routing.ports.get(name)
            if known_link is not None:
                # The first one was opened to any broker; from now on it stays with this one. And
                # a broker that was moved has another address.
                known_link.connection.aim_at(address)
                continue
            link = self._new_link(address)
            self.links.append(link)
            self._routing.add(name, link)
            self._start(link)
        for name in [name for name in self._routing.ports if name not in known]:
            gone = self._routing.remove(name)
            if gone is not None:
                self.links.remove(gone)
                self._scopes.pop(gone).cancel()

    def _on_waiting(self) -> None:
        self._loop.run(self._retry_needed.set)

    async def _retry(self) -> None:
        """Send requests again that wait for an owner of their slot."""
        while True:
            await self._retry_needed.wait()
            self._retry_needed = trio.Event()
            await trio.sleep(RETRY_S)
            if self._routing.retry():
                self._retry_needed.set()


@asynccontextmanager
async def open_router(
    url: str,
    peer: PeerPort,
    *,
    context: zmq.Context[zmq.Socket[bytes]] | None = None,
    backlog_max: int = 65_536,
    way: Way = DIRECT,
) -> AsyncIterator[Router]:
    """Keep links to all brokers of a deployment while the block runs.

    Parameters
    ----------
    url
        The address of one of them; see `open_link`.
    peer
        The peer itself, which is told of everything.
    context
        A ZeroMQ context; by default the router has its own.
    backlog_max
        Requests that may be unanswered at each broker, sent or not.
    way
        How to reach the brokers.

    Raises
    ------
    NameInUseError, ProtocolMismatchError, HelloRefusedError, LinkError
        From the block, in an exception group, when a broker refuses this peer for good, or `url` is
        no address.
    """
    own = zmq.Context() if context is None else None
    try:
        async with trio.open_nursery() as nursery:
            yield Router(url, peer, context or own or zmq.Context(), nursery, backlog_max, way)
            nursery.cancel_scope.cancel()
    finally:
        if own is not None:
            own.term()
