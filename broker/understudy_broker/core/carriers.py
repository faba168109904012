"""Carriers: peers that deliver to addresses of other schemes than ours, and their turns. Pure.

See `relay_scheme` for how deliveries are made. A carrier has a number of deliveries in flight, of
which no place takes all; and there are addresses that it has refused.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final, TypeAlias

from understudy_broker.core.sessions import Session
from understudy_broker.protocol.messages import Carry
from understudy_store.addresses import scheme_of
from understudy_store.records import PromiseRecord

#: addresses for which it is remembered that a carrier has refused them
REFUSED_MAX: Final = 1_024
#: schemes of servers with spaces of names: the first of two parts of a path is the space
SPACED_SCHEMES: Final = frozenset({"amqp", "amqps", "redis", "rediss"})

#: address and id
Key: TypeAlias = tuple[str, str]


def place_of(address: str) -> str:
    """Return an address without its path, but for the space of names of a queue.

    Examples
    --------
    >>> place_of("https://pay.example/hook?a"), place_of("nats://10.0.0.5")
    ('https://pay.example', 'nats://10.0.0.5')
    >>> place_of("amqp://mq.internal/orders"), place_of("amqp://mq.internal/shop/orders")
    ('amqp://mq.internal', 'amqp://mq.internal/shop')
    """
    scheme, _, rest = address.partition("://")
    for end in "?#":
        rest = rest.partition(end)[0]
    host, _, path = rest.partition("/")
    space, slash, _ = path.partition("/")
    if slash and scheme in SPACED_SCHEMES:
        return f"{scheme}://{host}/{space}"
    return f"{scheme}://{host}"


class Delivery:
    """An offer (without a promise) or an unblock, until it is made or no longer wanted."""

    __slots__ = ("address", "attempts", "id", "next_version", "place", "promise", "version")

    def __init__(self, address: str, id_: str, version: int, promise: PromiseRecord | None) -> None:
        self.address = address
        self.place = place_of(address)
        self.id = id_
        self.version = version
        self.promise = promise
        #: attempts that have failed
        self.attempts = 0
        #: while an offer is in flight: the version that is to be offered after it; None: none is
        self.next_version: int | None = None

    def take_next_version(self) -> None:
        """Make the newer version the one that is offered, if there is one."""
        if self.next_version is not None:
            self.version, self.next_version = self.next_version, None

    @property
    def key(self) -> Key:
        return self.address, self.id


class Carrier:
    """A session that delivers, and what it has in flight.

    Attributes
    ----------
    carried
        Schemes of which it carries all, or places.
    """

    __slots__ = ("_by_place", "_refused", "carried", "credit", "in_flight", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.carried: frozenset[str] = frozenset()
        self.credit = 0
        self.in_flight: dict[Key, Delivery] = {}
        self._by_place: Counter[str] = Counter()
        #: addresses to which it may not deliver, the latest refusals last
        self._refused: dict[str, None] = {}

    def carry(self, message: Carry) -> None:
        """Carry from now on what a message says; nothing is refused yet."""
        self.carried = frozenset(message.places or message.schemes)
        if not message.credit:
            self.carried = frozenset()
        self.credit = message.credit
        self._refused.clear()

    def carries(self, place: str) -> bool:
        """Return whether it delivers to a place."""
        return place in self.carried or scheme_of(place) in self.carried

    def refuse(self, address: str) -> None:
        """Note that it has refused an address."""
        self._refused.pop(address, None)
        self._refused[address] = None
        if len(self._refused) > REFUSED_MAX:
            del self._refused[next(iter(self._refused))]

    def has_refused(self, address: str) -> bool:
        """Return whether it has refused an address."""
        return address in self._refused

    @property
    def room(self) -> int:
        """Deliveries that it may still be given."""
        return max(0, self.credit - len(self.in_flight))

    def may_take(self, place: str) -> bool:
        """Return whether it has room for one more delivery to a place."""
        if not self.room or not self.carries(place):
            return False
        own = self._by_place.get(place, 0)
        left = self.credit - (len(self.in_flight) - own)
        return own < max(1, left // 2)

    def begin(self, delivery: Delivery) -> None:
        """Put a delivery in flight."""
        self.in_flight[delivery.key] = delivery
        self._by_place[delivery.place] += 1

    def end(self, key: Key, version: int) -> Delivery | None:
        """Return the delivery that is no longer in flight; None if it was not."""
        delivery = self.in_flight.get(key)
        if delivery is None or delivery.version != version:
            return None
        del self.in_flight[key]
        self._by_place[delivery.place] -= 1
        if not self._by_place[delivery.place]:
            del self._by_place[delivery.place]
        return delivery


class Carriers:
    """All carriers of a broker; they have turns."""

    def __init__(self) -> None:
        self._by_peer: OrderedDict[bytes, Carrier] = OrderedDict()

    def get(self, peer: bytes) -> Carrier | None:
        """Return the carrier of a peer; None: it carries nothing."""
        return self._by_peer.get(peer)

    def carry(self, session: Session, message: Carry) -> None:
        """Let a peer carry what its message says."""
        carrier = self._by_peer.get(session.peer)
        if carrier is None:
            carrier = self._by_peer[session.peer] = Carrier(session)
        carrier.carry(message)

    def drop(self, peer: bytes) -> Carrier | None:
        """Forget the carrier of a peer, and return it."""
        return self._by_peer.pop(peer, None)

    @property
    def room(self) -> int:
        """Deliveries that all of them may still be given."""
        return sum(carrier.room for carrier in self._by_peer.values())

    @property
    def carried(self) -> frozenset[str]:
        """Schemes and places that any of them carries."""
        return frozenset().union(*(carrier.carried for carrier in self._by_peer.values()))

    def next_for(self, place: str, address: str) -> Carrier | None:
        """Return the carrier that may take a delivery now; None: none has room."""
        those = [each for each in self._by_peer.values() if each.carries(place)]
        # If all have refused it, one of them is asked again, and says why.
        for carrier in [each for each in those if not each.has_refused(address)] or those:
            if carrier.may_take(place):
                self._by_peer.move_to_end(carrier.session.peer)
                return carrier
        return None

    def carry_to(self, delivery: Delivery) -> bool:
        """Return whether one of them carries a delivery and has not refused its address."""
        return any(
            carrier.carries(delivery.place) and not carrier.has_refused(delivery.address)
            for carrier in self._by_peer.values()
        )
