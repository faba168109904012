"""`Arrivals`: which slots a broker has said to have, and when a peer must join it anew. Pure.

A hello names the tasks that a peer holds at a broker, and after it the peer asks for what it
watches there. So whenever more slots come to a broker, its peers join it anew. Only the broker
itself knows when it has them. And if it says so in a map that is no newer than the last one of
another broker, which does not say so, the slots have not come yet: the hello would leave out their
tasks and watches.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from understudy_broker.link.routing import Port, Routing
from understudy_broker.protocol.messages import AnyCommand, SlotMap
from understudy_broker.protocol.placement import owners, slots_concerned

P = TypeVar("P", bound=Port)


class Arrivals(Generic[P]):
    """Compares the maps that each broker tells with what it said when it was joined.

    Parameters
    ----------
    routing
        Has taken each map already when a method of this class is told of it.
    """

    def __init__(self, routing: Routing[P]) -> None:
        self._routing = routing
        #: the slots that the broker of each port has, as it has said itself, and that are routed to
        #: it: what this peer has told it is about no others
        self._slots_at: dict[P, frozenset[int]] = {}

    def welcomed(self, port: P, slots: SlotMap, broker: str) -> None:
        """Note what a broker says in its welcome."""
        self._slots_at[port] = self._slots_of(port, slots, broker)

    def told(self, port: P, slots: SlotMap, broker: str) -> frozenset[int]:
        """Note what a broker says later; return the slots that have come to it since."""
        before = self._slots_at.get(port)
        if before is None:
            return frozenset()
        self._slots_at[port] = now_there = self._slots_of(port, slots, broker)
        return now_there - before

    def contradicts(self, port: P, command: AnyCommand) -> bool:
        """Return whether a broker that refuses a command has said that it has its slot.

        Then it has refused an earlier one in this session, and only in a new one it can be sure of
        their order.
        """
        return not self._slots_at.get(port, frozenset()).isdisjoint(slots_concerned(command))

    def forget(self, port: P) -> None:
        """Forget a broker that is gone for good."""
        self._slots_at.pop(port, None)

    def _slots_of(self, port: P, slots: SlotMap, broker: str) -> frozenset[int]:
        its_own = frozenset(slot for slot, name in enumerate(owners(slots)) if name == broker)
        return its_own & self._routing.slots_at(port)
