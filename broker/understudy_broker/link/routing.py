"""`Routing`: sends each request to the broker of its slot, also when the slot moves. Pure.

How it works
------------
A peer has a *port* to each broker of its deployment: a link, or a session in a simulation. The id
that a command names gives its slot, and the maps of slots that brokers have told of, `merged`, give
the slot's broker.

While there is no map there is one port, and it gets everything. That is also so for good where one
broker owns all slots, so a peer of a single broker pays for this with one comparison.

A broker that does not own the slot of a request performs nothing and says so (421), after it has
told of its newer map. The request then goes where that map says. While nobody owns the slot, or its
broker has no port yet, the request waits here. `take_map` moves requests as well: those that wait
at a broker for slots which it has lost, because that broker may be dead. They may have been
performed all the same, which is harmless: every request may be repeated.

Requests for one slot keep their order: a map moves all of them at once, the oldest first, and those
that come later go to the new broker by the same map. As long as one of them waits here, those that
come later wait behind it. When a broker refuses one, it refuses all that come after it in the same
session, so these are taken back and wait, too, until the peer has joined that broker anew or
another one has the slot. Requests for different slots have no order between brokers.

A watch of promises in several slots becomes one watch for each slot, because a broker gets slots
one by one: it would refuse all of it for want of one of them, and the watch would overtake requests
for the others. Of a fence only the part of its task's slot is sent as a fence (`split_fence`). A
search, and the report on groups, ask all brokers that have slots; `merging` makes one answer of
theirs. One without any may be gone already: a map that only leaves it out is no newer than the
last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Generic, Protocol, TypeVar

from understudy_broker.errors import LinkFullError
from understudy_broker.link.merging import merge
from understudy_broker.link.session import Answer, OnReply
from understudy_broker.link.split_fence import SplitFence, elsewhere
from understudy_broker.protocol.messages import (
    AnyCommand,
    OwnCommand,
    PromiseUnwatch,
    PromiseWatch,
    Response,
    SlotMap,
)
from understudy_broker.protocol.placement import (
    FOR_ALL,
    WATCHES,
    in_name_of,
    merged,
    own_command,
    owners,
    slot_concerned,
    slots_concerned,
)
from understudy_store.commands import Reply, TaskFence
from understudy_store.slots import slot_of


class Port(Protocol):
    """The way to one broker."""

    def request(self, command: AnyCommand, on_reply: OnReply) -> int: ...
    def take_back(
        self, is_wanted: Callable[[AnyCommand], bool]
    ) -> list[tuple[AnyCommand, OnReply]]:
        """Remove the unanswered requests that are wanted, and return them, oldest first."""


P = TypeVar("P", bound=Port)


def _do_nothing() -> None:
    """Do nothing."""


class Routing(Generic[P]):
    """Sends requests through the ports to the brokers that own their slots.

    Parameters
    ----------
    first
        The port to the broker that was reached first. It gets everything until there is a map.
    waiting_max
        Requests that may wait because nobody owns their slot.
    on_waiting
        Called when requests wait: `retry` is to be called some time later.

    Attributes
    ----------
    slots
        All maps so far, merged; None: there is none, and perhaps never will be.
    ports
        By the name of the broker; none while there is no map.
    """

    def __init__(
        self,
        first: P,
        waiting_max: int = 65_536,
        on_waiting: Callable[[], object] = _do_nothing,
    ) -> None:
        self.slots: SlotMap | None = None
        self.ports: dict[str, P] = {}
        #: the only port; None: there is a map
        self._sole: P | None = first
        #: by slot; None: nobody owns it, or there is no port to its broker yet
        self._port_of: list[P | None] = []
        #: the ports to the brokers that have slots; and whether one of these has no port yet
        self._asked: list[P] = []
        self._lacks_ports = False
        #: requests that no port is for at the moment, oldest first, and their slots
        self._waiting: list[tuple[AnyCommand, OnReply]] = []
        self._waiting_slots: set[int] = set()
        self._waiting_max = waiting_max
        self._on_waiting = on_waiting

    # The map -------------------------------------------------------------------------------------

    def take_map(self, slots: SlotMap, broker: str | None = None) -> bool:
        """Route by this map from now on; return False if it has nothing newer than the last.

        Parameters
        ----------
        broker
            The name of the broker that the first port has turned out to lead to.
        """
        first = self._sole
        if first is not None:
            if broker is None:
                return False  # no welcome has said yet where the port leads to
            self._sole = None
            self.ports[broker] = first
            # All of them, because searches were sent to this broker alone.
            self._waiting += first.take_back(_any)
        newest = slots if self.slots is None else merged(self.slots, slots)
        if newest is self.slots:
            return False
        self.slots = newest
        self._route_anew()
        return True

    def add(self, broker: str, port: P) -> None:
        """Use this port for a broker of the map."""
        self.ports[broker] = port
        self._route_anew()

    def remove(self, broker: str) -> P | None:
        """Use the port of a broker no more, and return it; its requests wait or go elsewhere."""
        port = self.ports.pop(broker, None)
        if port is not None:
            for command, on_reply in port.take_back(_any):
                if isinstance(own_command(command), FOR_ALL):
                    # The others answer for themselves, and this one has nothing any more.
                    on_reply(Response(0, Reply(200)))
                else:
                    self._waiting.append((command, on_reply))
            self._route_anew()
        return port

    def owns(self, port: P, id_: str) -> bool:
        """Return whether requests about this id go through this port."""
        return self._sole is not None or self._port_of[slot_of(id_)] is port

    def slots_at(self, port: P) -> frozenset[int]:
        """Return the slots whose requests go through this port by the map; none without one."""
        return frozenset(slot for slot, each in enumerate(self._port_of) if each is port)

    def _route_anew(self) -> None:
        """Find the port of each slot, and send on the requests that are at a wrong one, or none."""
        assert self.slots is not None
        names = owners(self.slots)
        asked = {name for name in names if name is not None} or {n for n, _ in self.slots.brokers}
        self._lacks_ports = not asked <= self.ports.keys()
        self._asked = [port for name, port in self.ports.items() if name in asked]
        self._port_of = [None if name is None else self.ports.get(name) for name in names]
        for port in self.ports.values():
            moved = {slot for slot, at in enumerate(self._port_of) if at is not port}
            self._waiting += port.take_back(partial(_concerns, moved))
        self.retry()

    def _is_misplaced(self, port: P, command: AnyCommand) -> bool:
        """Return whether a command that was sent through a port now concerns another broker."""
        own = own_command(command)
        if isinstance(own, WATCHES):
            return any(self._port_of[slot_of(id_)] is not port for id_ in own.ids)
        slot = slot_concerned(command)
        return slot is not None and self._port_of[slot] is not port

    # Requests ------------------------------------------------------------------------------------

    def request(self, command: AnyCommand, on_reply: OnReply) -> None:
        """Send a command to the broker, or to the brokers, that it concerns.

        Parameters
        ----------
        on_reply
            Called once with the answer, or with one that is made of the answers of all.

        Raises
        ------
        LinkFullError
            A port has too many unanswered requests.
        """
        if self._sole is not None:
            self._sole.request(command, on_reply)
            return
        own = own_command(command)
        if type(own) is TaskFence and (there := elsewhere(own)):
            split = SplitFence(own, there, partial(self._send_for, command), on_reply)
            command, on_reply = in_name_of(command, split.first), split.take_first
        slot = slot_concerned(command)
        if slot is not None:
            self._send(self._port_of[slot], command, on_reply)
        elif isinstance(own, WATCHES):
            self._request_parts(command, own, on_reply)
        elif self._lacks_ports:
            # An answer without those brokers would look like one of all.
            self._send(None, command, on_reply)
        else:
            gathering = _Gathering(own, len(self._asked), on_reply)
            for port in list(self._asked):
                port.request(command, gathering.take)

    def _request_parts(
        self, whole: AnyCommand, command: PromiseWatch | PromiseUnwatch, on_reply: OnReply
    ) -> None:
        """Send the parts of a command, one for each slot.

        A broker may have one of the slots and not the other yet, so parts are refused one by one.
        """
        ids_of: dict[int, list[str]] = {}
        for id_ in command.ids:
            ids_of.setdefault(slot_of(id_), []).append(id_)
        gathering = _Gathering(command, len(ids_of), on_reply)
        for slot, ids in ids_of.items():
            part = in_name_of(whole, type(command)(tuple(ids)))
            self._send(self._port_of[slot], part, gathering.take)

    def _send_part(self, command: AnyCommand, on_reply: OnReply) -> None:
        """Send a command, or let it wait if there is no room for it at its broker."""
        try:
            self.request(command, on_reply)
        except LinkFullError:
            self._wait(command, on_reply)

    def _send_for(self, whole: AnyCommand, part: OwnCommand, on_reply: OnReply) -> None:
        """Send a part of a command as `_send_part`, in the name of the same one."""
        self._send_part(in_name_of(whole, part), on_reply)

    def _send(self, port: P | None, command: AnyCommand, on_reply: OnReply) -> None:
        if port is not None and not (
            self._waiting_slots and self.waits_for(slots_concerned(command))
        ):
            port.request(command, on_reply)
        elif len(self._waiting) < self._waiting_max:
            self._wait(command, on_reply)
        else:
            raise LinkFullError(
                f"{self._waiting_max} requests wait for brokers that do not answer: wait until "
                "some are answered"
            )

    def moved(self, port: P, command: AnyCommand, on_reply: OnReply) -> None:
        """Send a command again that was not performed at a port, because the slot is not there.

        If the map still says that it is, a newer one is on its way, and the command waits for it,
        with those about the same slot that were sent after it.
        """
        slots = set(slots_concerned(command))
        # They were counted before, so they have their places.
        self._wait(command, on_reply)
        for later in port.take_back(partial(_concerns, slots)):
            self._wait(*later)
        if self._sole is None and self._is_misplaced(port, command):
            self.retry()

    def waits_for(self, slots: Iterable[int]) -> bool:
        """Return whether requests about some of these slots wait here."""
        return not self._waiting_slots.isdisjoint(slots)

    def _wait(self, command: AnyCommand, on_reply: OnReply) -> None:
        self._waiting.append((command, on_reply))
        self._waiting_slots.update(slots_concerned(command))
        self._on_waiting()

    def retry(self) -> bool:
        """Send the waiting requests again; return whether some still wait."""
        waiting, self._waiting = self._waiting, []
        self._waiting_slots = set()
        for count, (command, on_reply) in enumerate(waiting):
            try:
                self.request(command, on_reply)
            except LinkFullError:
                for left in waiting[count:]:
                    self._wait(*left)
                break
        return bool(self._waiting)

    @property
    def waiting(self) -> int:
        """The number of requests that go to no broker at the moment."""
        return len(self._waiting)


def _concerns(slots: set[int], command: AnyCommand) -> bool:
    return not slots.isdisjoint(slots_concerned(command))


class _Gathering:
    """The answers of several brokers, until all are there."""

    def __init__(self, command: AnyCommand, missing: int, on_reply: OnReply) -> None:
        self._command = command
        self._missing = missing
        self._on_reply = on_reply
        self._answers: list[Answer] = []

    def take(self, answer: Answer) -> None:
        """Take the answer of one, and reply if it is the last."""
        self._answers.append(answer)
        self._missing -= 1
        if not self._missing:
            self._on_reply(merge(self._command, self._answers))


def _any(_: AnyCommand) -> bool:
    return True
