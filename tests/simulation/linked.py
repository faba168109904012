"""A host with one process at a time, and the links of that process to all brokers.

It does the work of `understudy_broker.link.router` around the real routing: a process knows one
broker at first, and the welcome of that one has the map of slots, if there are several.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.links import Link
from understudy_actors.node.settlements import IsThere
from understudy_broker.core.task_queue import Callee
from understudy_broker.errors import LinkError
from understudy_broker.link.routing import Routing
from understudy_broker.link.session import LinkSession, OnReply
from understudy_broker.protocol.messages import AnyCommand, Hello, SlotMap, ToPeer, Welcome

if TYPE_CHECKING:
    from tests.simulation.world import World

#: The time after which requests are sent again for which there was no broker.
RETRY_MS = 100


class Linked:
    """A host whose process stays connected as long as it lives and the network allows."""

    #: Where the requests of the current process go.
    routing: Routing[LinkSession]

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
        """Handle a broker's welcome."""

    def on_disconnected(self, link: Link) -> None:
        """Handle the end of a connection that was welcomed."""

    def refused(self, error: LinkError) -> None:
        """Handle a refusal for good."""
        raise error

    # The process ---------------------------------------------------------------------------------

    def open_links(self, first: int) -> None:
        """Connect a new process to the broker at this place, and to the others after that."""
        for link in self.links:
            link.begin()
        self.routing = Routing(self.links[first].session, on_waiting=self._on_waiting)
        self._retries = False
        self.links[first].connect()

    def take_map(self, slots: SlotMap, broker: str | None = None) -> None:
        """Route by a newer map, and connect to the brokers that it names."""
        if self.routing.take_map(slots, broker):
            for link in self.links:
                if link.broker.name not in self.routing.ports:
                    self.routing.add(link.broker.name, link.session)
                    link.connect()

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
        self.routing.request(command, on_reply)

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
