"""A host with one process at a time, and the links of that process to all brokers.

It does the work of `understudy_broker.link.router` around the real routing: a process knows one
broker at first, and the welcome of that one has the map of slots, if there are several.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.links import Link
from tests.simulation.observations import hold
from understudy_actors.node.settlements import IsThere
from understudy_broker.core.task_queue import Callee
from understudy_broker.errors import LinkError
from understudy_broker.link.arrivals import Arrivals
from understudy_broker.link.routing import Routing
from understudy_broker.link.session import LinkSession, OnReply
from understudy_broker.protocol.messages import (
    AnyCommand,
    Hello,
    Refused,
    Response,
    SlotMap,
    ToPeer,
    Welcome,
)

if TYPE_CHECKING:
    from tests.simulation.broker import BrokerHost
    from tests.simulation.world import World

#: The time after which requests are sent again for which there was no broker.
RETRY_MS = 100
#: How long no broker answers until others are asked than those of the map.
SEEK_MS = 2_000


class Linked:
    """A host whose process stays connected as long as it lives and the network allows."""

    #: Where the requests of the current process go.
    routing: Routing[LinkSession]
    #: True if the process has the addresses of all brokers, and not just of one.
    knows_all = True

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        #: The number of the current process; events of an earlier one have no effect.
        self.epoch = 0
        self.alive = False
        self.frozen_until = 0
        #: The functions of the current process, as calls name them.
        self.callees: frozenset[Callee] = frozenset()
        #: One for each broker.
        self.links = [Link(world, self, broker) for broker in world.brokers]

    # The process, as its links call it -----------------------------------------------------------

    def hello(self, link: Link) -> Hello:
        """Introduce the process to a broker."""
        raise NotImplementedError

    def is_busy(self) -> bool:
        """Return whether the process holds or awaits something."""
        return True

    def on_messages(self, link: Link, messages: list[ToPeer]) -> None:
        """Handle the messages that answer no request."""

    def on_welcome(self, link: Link, welcome: Welcome, reconnected: bool) -> None:
        """Handle a broker's welcome; `reconnected`: this process has met a broker before."""

    def on_disconnected(self, link: Link) -> None:
        """Handle the end of a connection that was welcomed."""

    def on_gone(self, link: Link) -> None:
        """Handle the end of a link, because its broker is gone."""

    def on_other_map(self, slots: SlotMap) -> None:
        """Handle a map that a broker tells."""

    def minds_moves(self) -> bool:
        """Return whether tasks or watches of this process may be in slots that move."""
        return self.is_busy()

    def refused(self, error: LinkError) -> None:
        """Handle a refusal for good."""
        raise error

    # The process ---------------------------------------------------------------------------------

    def open_links(self, first: BrokerHost) -> None:
        """Connect a new process to this broker, and to the others after that."""
        for link in self.links:
            link.begin()
        [begun] = [link for link in self.links if link.broker is first]
        self.routing = Routing(begun.session, on_waiting=self._on_waiting)
        self._arrivals = Arrivals(self.routing)
        self._settled: set[str] = set()
        self._has_met = self._retries = self._seeks = False
        self._sought = 0
        begun.connect()

    def on_unreachable(self, link: Link) -> None:
        """Ask other brokers, if none answers that this process knows of.

        It has the addresses of all of them.
        """
        if not (self.world.plan.shared and self.knows_all):
            return
        if self.routing.slots is None:
            self._swap(link, self.links[(self.links.index(link) + 1) % len(self.links)])
        elif not self._seeks and not self._is_connected:
            self._seeks = True
            self.later(SEEK_MS, self._seek)

    @property
    def _is_connected(self) -> bool:
        return any(link.session.connected for link in self.links)

    def _swap(self, link: Link, other: Link) -> None:
        """Let a first link that was not answered lead to another broker."""
        link.broker, other.broker = other.broker, link.broker
        at, to = self.links.index(link), self.links.index(other)
        self.links[at], self.links[to] = other, link

    def _seek(self) -> None:
        ports = [link for link in self.links if link.broker.name in self.routing.ports]
        for link in ports:
            link.aimed = None
        self._seeks = not self._is_connected
        if self._seeks:
            self.world.counts["asked for unknown brokers"] += 1
            ports[0].aimed = self.world.brokers[self._sought % len(self.world.brokers)]
            self._sought += 1
            self.later(SEEK_MS, self._seek)

    def check_welcome(self, link: Link, welcome: Welcome) -> str | None:
        """Return what is wrong if another broker answers than the one that is meant."""
        ports = self.routing.ports
        name = next((name for name, port in ports.items() if port is link.session), None)
        if link.aimed is not None:
            link.aimed = None
            if welcome.slots is not None:
                self._take_map(welcome.slots)
        return None if name in (None, welcome.broker) else "it is another broker"

    def welcomed(self, link: Link, welcome: Welcome) -> None:
        """Take the welcome of a broker."""
        if welcome.slots is not None:
            self._take_map(welcome.slots, welcome.broker)
            self._arrivals.welcomed(link.session, welcome.slots, welcome.broker)
        reconnected, self._has_met = self._has_met, True
        self.on_welcome(link, welcome, reconnected)
        self.routing.retry()

    def on_map(self, link: Link, slots: SlotMap) -> None:
        """Take a map that a broker tells."""
        self._take_map(slots)
        self.on_other_map(slots)
        welcome = link.session.welcome
        if welcome is None:
            return
        come = self._arrivals.told(link.session, slots, welcome.broker)
        if come and (self.minds_moves() or self.routing.waits_for(come)):
            self.world.counts["rejoins"] += 1
            link.rejoin()

    def on_moved(self, link: Link, command: AnyCommand, on_reply: OnReply) -> None:
        """Let a command that was refused go to another broker, or wait."""
        self.world.counts["misdirected"] += 1
        self.routing.moved(link.session, command, on_reply)
        if self._arrivals.contradicts(link.session, command):
            self.world.counts["rejoins"] += 1
            link.rejoin()

    def _take_map(self, slots: SlotMap, broker: str | None = None) -> None:
        """Route by a newer map, and have a link to each of the brokers that it names."""
        routing = self.routing
        if not routing.take_map(slots, broker):
            return
        assert routing.slots is not None
        known = dict(routing.slots.brokers)
        for link in self.links if known else ():
            name = link.broker.name
            if name in known and name not in routing.ports:
                if link.has_left:
                    link.begin()
                routing.add(name, link.session)
                link.connect()
            elif name in routing.ports and name not in known:
                routing.remove(name)
                link.leave()
                self._arrivals.forget(link.session)
                self.on_gone(link)

    def _on_waiting(self) -> None:
        if not self._retries:
            self._retries = True
            self.later(RETRY_MS, self._retry)

    def _retry(self) -> None:
        self._retries = False
        if self.routing.retry():
            self._on_waiting()
        self.flush()

    def is_at(self, link: Link) -> IsThere:
        """Return a function that says whether the promise of an id is at the broker of a link."""
        return lambda id_: self.routing.owns(link.session, id_)

    @property
    def unanswered(self) -> int:
        """The number of requests without an answer."""
        return self.routing.waiting + sum(link.session.unanswered for link in self.links)

    def request(self, command: AnyCommand, on_reply: OnReply) -> None:
        """Ask the broker that a command concerns, or several."""
        epoch = self.epoch

        def answered(answer: Response | Refused) -> None:
            if isinstance(answer, Response) and self.epoch == epoch:
                self._learn(answer)
            on_reply(answer)

        self.routing.request(command, answered if self.world.plan.shared else on_reply)

    def _learn(self, answer: Response) -> None:
        """Check that a promise which this process has seen settled is not pending again."""
        promise = answer.reply.promise
        if promise is None:
            return
        if promise.settled:
            self._settled.add(promise.id)
        else:
            hold(promise.id not in self._settled, "p17: pending again", self.name, promise.id)

    def flush(self) -> None:
        """Send all pending messages; give up silent connections."""
        for link in self.links:
            link.flush()

    def later(self, ms: int, act: Callable[[], None]) -> None:
        """Call `act` in `ms`, or when the process thaws, if it is still alive then."""
        epoch, world = self.epoch, self.world

        def due() -> None:
            if self.epoch != epoch:
                return
            if self.frozen_until > world.now:
                world.after(self.frozen_until - world.now, due)
            else:
                act()

        world.after(ms, due)
