"""Delivery to addresses of other schemes, by carriers: peers that have what these need. Pure.

How it works
------------
The broker opens no connection to ``https://pay.example/hook`` and the like. A peer of the kind
"edge" that can deliver there says so (`Carry`): it names schemes, and its credit, the number of
deliveries that it takes at a time. A delivery goes to a carrier as `Forward` and stays *in flight*
until the carrier answers (`Forwarded`) or is gone. There are two kinds.

- The *offer* of a task. If nobody acquires the task after it, the store offers the task again at
  its `retry_at`, as it does everywhere. An offer that fails is made again sooner while the task
  waits: after `OFFER_RETRY_MS`, then after twice as long each time. But it pauses at least as long
  as nothing has arrived at its place, so a place that is down for long is asked as seldom as the
  store offers. The store's next offer begins anew, so nothing is kept of a task but its pause. If
  the carrier goes before it has answered, the offer goes to another one at once. An offer whose
  task is acquired has done what it is for, however it ends.

  A carrier may name another time (`again_ms`). What lies in a queue is not lost, however long the
  queue is. So a connector names a long time, and the pause also is at least as long as the task has
  waited: a backlog that lasts a day has each task a few times, not a thousand times.
- An *unblock*. The store owes it until a carrier has delivered it; a failed one is tried again
  after `unblock_retry_ms`, then after twice as long each time, up to `RETRY_MS_MAX`.

Deliveries wait by *place*, which is the address without its path: ``https://pay.example``. At
queues that have virtual hosts or databases, the place has that too (`SPACED_SCHEMES`). A carrier
delivers to all places of its schemes, or only to those that it names. Places have turns, and in
each place the oldest goes first. A place may have in flight at most half of what other places leave
of a carrier's credit, and always one; so a place that hangs leaves room for the others, and so does
the next one that hangs. A place whose receiver has said how long to leave it alone *rests*: it has
no turns (`place_states`).

A carrier may *refuse* an address, because its own list of hosts or queues does not have it. Then
another one that carries the place is asked at once, and this one no more, until it says anew what
it carries. If all of them refuse, the delivery has failed.

What is not perfect
-------------------
- A carrier that is alive and never answers keeps its deliveries. Carriers have time limits.
- An unblock is delivered again if its carrier goes between the delivery and the answer.
- Deliveries over queues share the place of their server, although they do not wait for each other.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Collection
from itertools import islice
from typing import Final

from understudy_broker.core.carriers import Carrier, Carriers, Delivery, Key, place_of
from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.events import EventLog
from understudy_broker.core.metrics import Metrics
from understudy_broker.core.outbox import Outbox
from understudy_broker.core.place_states import PlaceStates
from understudy_broker.core.sessions import Session
from understudy_broker.protocol.messages import Carry, Forward, Forwarded, Refused
from understudy_store.addresses import RELAYED_CHARS_MAX, RELAYED_SCHEMES, scheme_of
from understudy_store.machine import Execute, Machine, offers
from understudy_store.records import PromiseRecord
from understudy_store.slots import slot_of

#: deliveries that one carrier may take at a time
CREDIT_MAX: Final = 4_096
#: the longest pause before an unblock is tried again
RETRY_MS_MAX: Final = 600_000
#: how long the first pause of an offer that has failed is, and how long the longest: what would
#: pause longer is left to the store, which offers the task anyway
OFFER_RETRY_MS: Final = 1_000
OFFER_PAUSE_MS_MAX: Final = 32_000
#: how long deliveries wait for the first carrier before the log says so
UNCARRIED_MS: Final = 10_000
#: places without a carrier that are noted
UNCARRIED_MAX: Final = 1_024
#: places that one carrier may name
PLACES_MAX: Final = 64


class Waiting:
    """Deliveries that wait for a carrier: by place, the places in turn.

    Attributes
    ----------
    places
        Places that have deliveries, in the order of their turns; those that nobody carries are in
        `aside`. To be read only.
    """

    def __init__(self) -> None:
        self._queues: dict[str, OrderedDict[Key, Delivery]] = {}
        self.places: OrderedDict[str, None] = OrderedDict()
        self.aside: OrderedDict[str, None] = OrderedDict()
        #: schemes and places
        self._carried: frozenset[str] = frozenset()
        self._held: list[str] = []
        self.count = 0

    def put(self, delivery: Delivery, *, first: bool = False) -> None:
        """Add a delivery, as the last of its place or as the first; one that waits is replaced."""
        queue = self._queues.get(delivery.place)
        if queue is None:
            queue = self._queues[delivery.place] = OrderedDict()
            self._round_of(delivery.place)[delivery.place] = None
        self.count += delivery.key not in queue
        queue[delivery.key] = delivery
        if first:
            queue.move_to_end(delivery.key, last=False)

    def get(self, key: Key) -> Delivery | None:
        """Return the delivery that waits under a key."""
        queue = self._queues.get(place_of(key[0]))
        return None if queue is None else queue.get(key)

    def first(self, place: str) -> str:
        """Return the address of the oldest delivery of a place."""
        return next(iter(self._queues[place].values())).address

    def take(self, place: str) -> Delivery:
        """Take the oldest delivery of a place, whose turn comes last then."""
        queue = self._queues[place]
        _, delivery = queue.popitem(last=False)
        self.count -= 1
        if queue:
            self._round_of(place).move_to_end(place)
        else:
            self._forget(place)
        return delivery

    def hold(self, place: str) -> None:
        """Give a place no turns until `let_go`."""
        del self.places[place]
        self._held.append(place)

    def let_go(self) -> None:
        """Give turns to the places that were held, after the others."""
        for place in self._held:
            self.places[place] = None
        self._held.clear()

    def remove(self, key: Key) -> None:
        """Take a delivery out, if it waits."""
        place = place_of(key[0])
        queue = self._queues.get(place)
        if queue is None or queue.pop(key, None) is None:
            return
        self.count -= 1
        if not queue:
            self._forget(place)

    def carry(self, carried: frozenset[str]) -> None:
        """Let these places, and those of these schemes, have turns, and no others."""
        self._carried = carried
        places = [*self.places, *self.aside]
        self.places, self.aside = OrderedDict(), OrderedDict()
        for place in places:
            self._round_of(place)[place] = None

    def all_keys(self) -> list[Key]:
        """Return the keys of all that wait."""
        return [key for queue in self._queues.values() for key in queue]

    def _round_of(self, place: str) -> OrderedDict[str, None]:
        is_carried = place in self._carried or scheme_of(place) in self._carried
        return self.places if is_carried else self.aside

    def _forget(self, place: str) -> None:
        del self._queues[place]
        del self._round_of(place)[place]


class RelayScheme:
    """The entry for `RELAYED_SCHEMES` in the table of `Delivery`.

    Attributes
    ----------
    due_at
        When `tick` has something to do, epoch milliseconds; None: never.
    """

    def __init__(
        self,
        machine: Machine,
        outbox: Outbox,
        events: EventLog,
        metrics: Metrics,
        config: BrokerConfig,
    ) -> None:
        self._machine = machine
        self._outbox = outbox
        self._events = events
        self._metrics = metrics
        self._retry_ms = config.unblock_retry_ms
        self._now = 0
        self._waiting = Waiting()
        self._carriers = Carriers()
        self._flying: dict[Key, Carrier] = {}
        #: addresses of the offers that wait, by the ids of their tasks
        self._targets: dict[str, str] = {}
        self._owed: dict[Key, Delivery] = {}
        #: offers that have failed, and when each is made again
        self._pausing: dict[Key, tuple[int, Delivery]] = {}
        #: what is to be tried again: when, and which; some is no longer wanted
        self._retries: list[tuple[int, Key]] = []
        self._states = PlaceStates(events)
        #: places that something waits for and nobody carries, and when the log says so; None: it
        #: has said so
        self._uncarried: dict[str, int | None] = {}
        self._may_assign = False
        self.due_at: int | None = None
        metrics.add_source(
            lambda: {
                "forwards_waiting": self._waiting.count,
                "forwards_in_flight": len(self._flying),
                "forwards_pausing": len(self._pausing),
            }
        )

    def start(self, now: int) -> None:
        """Take the time of the start."""
        self._now = now

    # Tasks ---------------------------------------------------------------------------------------

    def offer(self, execute: Execute, now: int) -> None:
        """Queue the offer of a pending task; one that waits keeps its place."""
        self._now = now
        key = (execute.target, execute.id)
        carrier = self._flying.get(key)
        if carrier is not None:
            flies = carrier.in_flight[key]
            flies.next_version = None if flies.version == execute.version else execute.version
            return
        waits = self._waiting.get(key)
        if waits is not None:
            waits.version = execute.version
        else:
            self._put(Delivery(execute.target, execute.id, execute.version, None))

    def withdraw(self, task_id: str) -> None:
        """Take the offer of a task that has settled out of its queue."""
        target = self._targets.pop(task_id, None)
        if target is not None:
            self._waiting.remove((target, task_id))
            self._pausing.pop((target, task_id), None)

    # Unblocks ------------------------------------------------------------------------------------

    def unblock(self, address: str, promise: PromiseRecord) -> None:
        """Owe an unblock, and queue it."""
        delivery = Delivery(address, promise.id, 0, promise)
        self._owed[delivery.key] = delivery
        if delivery.key not in self._flying:
            self._put(delivery)

    def forget(self, slots: Collection[int]) -> None:
        """Deliver nothing about promises of these slots; another broker does from now on."""
        for key in [key for key in self._owed if slot_of(key[1]) in slots]:
            del self._owed[key]
        for key in [key for key in self._waiting.all_keys() if slot_of(key[1]) in slots]:
            self._waiting.remove(key)
            self._targets.pop(key[1], None)
        for key in [key for key in self._pausing if slot_of(key[1]) in slots]:
            del self._pausing[key]
            self._targets.pop(key[1], None)

    # Carriers ------------------------------------------------------------------------------------

    def carry(self, session: Session, message: Carry) -> None:
        """Let a peer carry, or carry other schemes, or more or fewer deliveries at a time."""
        wrong = _flaw(session, message)
        if wrong is not None:
            self._outbox.refuse(session.peer, Refused(400, wrong))
            return
        self._carriers.carry(session, message)
        self._update_carried()

    def drop(self, session: Session) -> None:
        """Take back what a peer had in flight, because it is gone."""
        carrier = self._carriers.drop(session.peer)
        if carrier is None:
            return
        for key, delivery in reversed(carrier.in_flight.items()):
            del self._flying[key]
            delivery.take_next_version()
            self._put_again(delivery)
        self._update_carried()

    def forwarded(self, session: Session, message: Forwarded, now: int) -> None:
        """Act on how a delivery ended."""
        self._now = now
        carrier = self._carriers.get(session.peer)
        key = (message.address, message.id)
        delivery = None if carrier is None else carrier.end(key, message.version)
        if carrier is None or delivery is None:
            return  # It was taken back.
        del self._flying[key]
        self._may_assign = True
        if message.refused:
            carrier.refuse(delivery.address)
            if self._carriers.carry_to(delivery):
                delivery.take_next_version()
                self._put_again(delivery)
                return
        if message.error is not None and message.retry_after_ms is not None:
            self._states.rest(delivery.place, message.retry_after_ms, now)
        if delivery.promise is None:
            self._end_offer(delivery, message)
        elif self._owed.get(key) is None:
            self._log_end(delivery, message.error)
        else:
            self._end_unblock(delivery, message.error)
        self._set_due()

    def _end_offer(self, delivery: Delivery, message: Forwarded) -> None:
        error = message.error
        is_failure = error is not None and self._is_wanted(delivery)
        if is_failure or error is None:
            # One whose task was acquired, or has settled, says nothing about the place.
            self._log_end(delivery, error)
        if delivery.next_version is not None or delivery.key in self._owed:
            next_version = delivery.next_version or 0
            self._put_again(Delivery(delivery.address, delivery.id, next_version, None))
        elif message.again_ms is not None:
            offers.put_off(
                self._machine.state, delivery.id, delivery.version, self._now, message.again_ms,
                grow=error is None,
            )  # fmt: skip
        elif is_failure:
            self._pause(delivery)

    def _pause(self, delivery: Delivery) -> None:
        """Have an offer that has failed made again, unless the store does before."""
        if self._states.rests(delivery.place):
            self._put_again(delivery)  # The place has its turns again when it has rested.
            return
        delivery.attempts += 1
        failing_ms = self._states.failing_ms(delivery.place, self._now)
        pause_ms = max(OFFER_RETRY_MS << min(delivery.attempts - 1, 32), failing_ms)
        if pause_ms <= OFFER_PAUSE_MS_MAX:
            at = self._now + pause_ms
            self._pausing[delivery.key] = at, delivery
            self._targets[delivery.id] = delivery.address
            heapq.heappush(self._retries, (at, delivery.key))

    def _end_unblock(self, delivery: Delivery, error: str | None) -> None:
        self._log_end(delivery, error)
        owed = self._owed[delivery.key]
        if error is None:
            del self._owed[delivery.key]
            self._machine.acknowledge(delivery.id, delivery.address)
            return
        owed.attempts += 1
        pause_ms = min(self._retry_ms << min(owed.attempts - 1, 32), RETRY_MS_MAX)
        heapq.heappush(self._retries, (self._now + pause_ms, delivery.key))

    def _log_end(self, delivery: Delivery, error: str | None) -> None:
        """Count the end of a delivery, and note how its place does."""
        if error is None:
            self._metrics.forwarded += 1
            self._states.arrived(delivery.place)
        else:
            self._metrics.forwards_failed += 1
            address, id_ = delivery.address, delivery.id
            self._states.failed(delivery.place, self._now, address=address, id=id_, error=error)

    # Queues --------------------------------------------------------------------------------------

    def _put(self, delivery: Delivery, *, first: bool = False) -> None:
        self._waiting.put(delivery, first=first)
        self._pausing.pop(delivery.key, None)
        if delivery.promise is None:
            self._targets[delivery.id] = delivery.address
        else:
            self._targets.pop(delivery.id, None)  # An offer under this key is replaced.
        self._may_assign = True
        place = delivery.place
        if place in self._waiting.aside and place not in self._uncarried:
            if len(self._uncarried) >= UNCARRIED_MAX:
                self._note_uncarried()
            if len(self._uncarried) < UNCARRIED_MAX:
                self._uncarried[place] = self._now + UNCARRIED_MS
            self._set_due()

    def _put_again(self, delivery: Delivery) -> None:
        """Queue what has ended its flight: as the first, or instead the unblock that is owed."""
        owed = self._owed.get(delivery.key)
        if owed is not None:
            self._put(owed, first=True)
        elif delivery.promise is None:
            self._put(delivery, first=True)

    def _is_wanted(self, delivery: Delivery) -> bool:
        if delivery.promise is not None:
            return delivery.key in self._owed
        execute = self._machine.view.offer(delivery.id)
        return execute is not None and execute.version == delivery.version

    def assign(self, now: int) -> None:
        """Give carriers what they have room for."""
        self._now = now
        if not self._may_assign:
            return
        self._may_assign = False
        room = self._carriers.room
        waiting = self._waiting
        while room and waiting.places:
            place = next(iter(waiting.places))
            carrier = None
            if not self._states.rests(place):
                carrier = self._carriers.next_for(place, waiting.first(place))
            if carrier is None:
                waiting.hold(place)
                continue
            delivery = waiting.take(place)
            if delivery.promise is None:
                del self._targets[delivery.id]
            if self._is_wanted(delivery):
                room -= 1
                self._send(carrier, delivery)
        waiting.let_go()

    def _send(self, carrier: Carrier, delivery: Delivery) -> None:
        carrier.begin(delivery)
        self._flying[delivery.key] = carrier
        message = Forward(delivery.address, delivery.id, delivery.version, delivery.promise)
        self._outbox.add(carrier.session.peer, message)

    # Time ----------------------------------------------------------------------------------------

    def tick(self, now: int) -> None:
        """Queue what is to be tried again, and say what nobody carries."""
        self._now = now
        if self.due_at is None or now < self.due_at:
            return
        while self._retries and self._retries[0][0] <= now:
            at, key = heapq.heappop(self._retries)
            owed = self._owed.get(key)
            pauses_until, offer = self._pausing.get(key, (None, None))
            if offer is not None and pauses_until == at:
                self._put(offer)
            elif owed is not None and key not in self._flying and self._waiting.get(key) is None:
                self._put(owed)
        if self._states.end_rests(now):
            self._may_assign = True
        for place, said_at in list(self._uncarried.items()):
            if said_at is None or said_at > now:
                continue
            if place not in self._waiting.aside:
                del self._uncarried[place]
                continue
            self._uncarried[place] = None
            text = "no edge and no connector delivers to this place: what is for it waits"
            self._events.add("warning", text, place=place)
        self._set_due()

    def _update_carried(self) -> None:
        self._waiting.carry(self._carriers.carried)
        self._note_uncarried()
        self._may_assign = True
        self._set_due()

    def _note_uncarried(self) -> None:
        """Note places that wait for a carrier, and forget those that do so no longer."""
        self._uncarried = {
            place: self._uncarried.get(place, self._now + UNCARRIED_MS)
            for place in islice(self._waiting.aside, UNCARRIED_MAX)
        }

    def _set_due(self) -> None:
        times = [at for at in self._uncarried.values() if at is not None]
        if self._states.rest_ends_at is not None:
            times.append(self._states.rest_ends_at)
        if self._retries:
            times.append(self._retries[0][0])
        self.due_at = min(times, default=None)


def _flaw(session: Session, message: Carry) -> str | None:
    """Return what is wrong with a peer's wish to carry; None if nothing is."""
    if session.kind != "edge":
        return "only an edge carries deliveries"
    unknown = [scheme for scheme in message.schemes if scheme not in RELAYED_SCHEMES]
    if unknown:
        return f"unknown scheme {unknown[0][:40]!r}: use {', '.join(RELAYED_SCHEMES)}"
    if len(message.places) > PLACES_MAX:
        return f"places: {len(message.places)} are more than {PLACES_MAX}"
    for place in message.places:
        if scheme_of(place) not in message.schemes or len(place) > RELAYED_CHARS_MAX:
            return f"place {place[:80]!r}: it is of none of the schemes"
    if not 0 <= message.credit <= CREDIT_MAX:
        return f"credit: {message.credit} is not between 0 and {CREDIT_MAX}"
    return None
