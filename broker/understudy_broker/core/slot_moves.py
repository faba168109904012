"""Slots that come to this broker, or leave it, while it works. Pure.

Where slots never move, the map of `BrokerConfig.slots` says once and for all which are this
broker's. Where a database says who has them, they change hands; the shell does the reading and the
writing, and calls this part through the core, in one of two orders.

**Slots come.** They are this broker's already as far as the database is concerned. `admit` takes
in what is stored of them, and from then on their requests are performed. A node that holds some of
their tasks hears from the push of the map that they have come here, and joins anew with its claims;
until then it has the grace of a start.

**Slots leave.** `give_up` lets requests about them be refused from now on (421), so their peers
keep them. The core then makes no step until everything is committed, and `expel` forgets them. Only
then may the shell give them to another broker. In all that time nobody performs anything about
them, and this is the whole pause that their callers see.

The map that peers are told is the shell's, and says of a slot that has come only what is true: it
is told after `admit`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.delivery import Delivery
from understudy_broker.core.outbox import Outbox
from understudy_broker.core.own_slots import OwnSlots
from understudy_broker.core.poll_scheme import PollScheme
from understudy_broker.core.quotas import Quotas
from understudy_broker.core.sessions import Sessions
from understudy_broker.protocol.messages import SlotMap, Slots
from understudy_store.changes import Snapshot
from understudy_store.machine import Machine
from understudy_store.slots import slot_of


class SlotMoves:
    """Lets slots come and leave; see the module.

    Parameters
    ----------
    forgets
        Called with slots that have left, of which nothing is to be kept.

    Attributes
    ----------
    leaving
        Slots that were given up and are not expelled yet.
    """

    def __init__(
        self,
        own: OwnSlots,
        machine: Machine,
        sessions: Sessions,
        outbox: Outbox,
        poll: PollScheme,
        quotas: Quotas,
        forgets: Sequence[Callable[[Collection[int]], None]],
        delivery: Delivery,
        note_input: Callable[[], None],
        config: BrokerConfig,
    ) -> None:
        self._own = own
        self._machine = machine
        self._sessions = sessions
        self._outbox = outbox
        self._poll = poll
        self._quotas = quotas
        self._forgets = forgets
        self._delivery = delivery
        self._note_input = note_input
        self._config = config
        self.leaving: frozenset[int] = frozenset()

    def tell(self, slots: SlotMap) -> None:
        """Tell all peers a newer map, before anything else."""
        self._note_input()
        self._own.map = slots
        for session in self._sessions:
            self._outbox.add_urgent(session.peer, Slots(slots))

    def admit(self, slots: Collection[int], snapshot: Snapshot, now: int) -> None:
        """Take in slots, of which `snapshot` has everything that is live.

        Not while the core looks rows up: requests that it has selected were not looked up if they
        concern these slots.
        """
        assert not self._own.mine.intersection(slots)
        self._note_input()
        self._machine.admit(snapshot, now)
        self._quotas.count_anew()
        self._own.mine.update(slots)
        self._own.came_at = now
        for record, address in snapshot.unblocks:
            self._delivery.scheme_of(address).unblock(address, record)
        until = now + self._config.boot_grace_ms
        for pid in sorted(self._machine.view.peer_pids()):
            if any(slot_of(id_) in slots for id_, _ in self._machine.view.held(pid)):
                self._sessions.set_away(pid, until)

    def give_up(self, slots: Collection[int]) -> None:
        """Perform nothing about these slots any more."""
        assert not self.leaving
        self._note_input()
        self.leaving = frozenset(slots)
        self._own.mine.difference_update(slots)

    def expel(self) -> None:
        """Forget the slots that were given up; nothing of theirs is under way."""
        slots, self.leaving = self.leaving, frozenset()
        for forget in self._forgets:
            forget(slots)
        self._quotas.count_anew()
        for task_id in self._machine.expel(slots):
            self._poll.withdraw(task_id)
