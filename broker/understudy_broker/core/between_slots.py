"""Between slots: what this broker asks of the owners of other slots, until they answer. Pure.

The machine says what it wants to hear of, and to whom it owes announcements (`machine.elsewhere`).
This part makes requests of it, for the shell to send: each to the owner of the slot that it
concerns, which may be this broker itself. A request leaves after the commit of the batch that it
comes from, is asked again until it is answered, and follows its slot from broker to broker, because
it goes through a router as a node's requests do. After a restart, the machine says all of it again.

Requests that are refused are sent again later. One refusal is final: if a promise does not exist
that tasks wait for, these are parked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Final

import msgspec

from understudy_broker.core.events import EventLog
from understudy_broker.core.metrics import Metrics
from understudy_broker.core.quarantine import Quarantine
from understudy_broker.protocol.messages import Refused, Response, SlotCommand
from understudy_store.addresses import slot_address, slot_of_address
from understudy_store.commands import (
    PromiseAnnounce,
    PromiseGet,
    PromiseOccur,
    PromiseRegisterListener,
    PromiseSupersede,
    Reply,
    TaskHalt,
)
from understudy_store.machine import Execute, Machine
from understudy_store.records import EMPTY, PromiseRecord
from understudy_store.slots import slot_of

#: requests that may be unanswered
OUTSTANDING_MAX: Final = 4_096


class BetweenSlots:
    """The requests to other slots; also the entry for ``slot://`` in the table of `Delivery`.

    Parameters
    ----------
    retry_ms
        How long a refused request waits until it is sent again.
    """

    def __init__(
        self,
        machine: Machine,
        quarantine: Quarantine,
        events: EventLog,
        metrics: Metrics,
        retry_ms: int,
    ) -> None:
        self._machine = machine
        self._quarantine = quarantine
        self._events = events
        self._retry_ms = retry_ms
        #: called with the answer about a root of which somebody has asked by `release`
        self.on_root: Callable[[str, Response | Refused], None] = _ignore
        #: of the batch that is being made
        self._new: list[SlotCommand] = []
        self._ready: deque[SlotCommand] = deque()
        #: refused ones, and when they are sent again, in that order
        self._refused: deque[tuple[int, SlotCommand]] = deque()
        self._outstanding = 0
        metrics.add_source(lambda: {"slot_requests": self._outstanding + len(self._ready)})

    # Delivery ------------------------------------------------------------------------------------

    def offer(self, execute: Execute, now: int) -> None:
        """Do nothing: no task has a slot as its target."""

    def withdraw(self, task_id: str) -> None:
        """Do nothing, because nothing is kept."""

    def assign(self, now: int) -> None:
        """Do nothing, because nothing is kept."""

    def unblock(self, address: str, promise: PromiseRecord) -> None:
        """Owe a slot the announcement that a promise has settled."""
        slot = slot_of_address(address)
        assert slot is not None, address
        # What was called with is of no use to who waits, and may be large.
        told = msgspec.structs.replace(promise, param=EMPTY)
        self._new.append(PromiseAnnounce(slot, told))

    # Sending -------------------------------------------------------------------------------------

    def collect(self) -> None:
        """Make requests of what the machine wants to hear of."""
        self._new += self._machine.take_requests()

    def take_new(self) -> list[SlotCommand]:
        """Return the requests since the last call, for `release` after the commit."""
        new, self._new = self._new, []
        return new

    def release(self, requests: list[SlotCommand]) -> None:
        """Let requests be sent, because what they come from is durable."""
        self._ready.extend(requests)

    def take(self, now: int) -> list[SlotCommand]:
        """Return requests to be sent now; each must be given to `answered`."""
        while self._refused and self._refused[0][0] <= now:
            self._ready.append(self._refused.popleft()[1])
        count = min(len(self._ready), OUTSTANDING_MAX - self._outstanding)
        self._outstanding += count
        return [self._ready.popleft() for _ in range(count)]

    def forget(self, slots: Collection[int]) -> None:
        """Ask for nothing in the name of these slots any more; another broker does from now on."""
        self._new = [each for each in self._new if _asker(each) not in slots]
        self._ready = deque(each for each in self._ready if _asker(each) not in slots)
        self._refused = deque(each for each in self._refused if _asker(each[1]) not in slots)

    def next_due(self) -> int | None:
        """Return when `take` has a request that was refused; None: none was."""
        return self._refused[0][0] if self._refused else None

    # Answers -------------------------------------------------------------------------------------

    def answered(self, command: SlotCommand, answer: Response | Refused, now: int) -> None:
        """Act on the answer to a request, or send it again later."""
        self._outstanding -= 1
        if isinstance(command, PromiseGet):
            self.on_root(command.id, answer)  # It asks again by itself.
            return
        reply = Reply(answer.status, answer.error) if isinstance(answer, Refused) else answer.reply
        if isinstance(command, PromiseAnnounce):
            done = reply.ok
            if done:
                self._machine.acknowledge(command.promise.id, slot_address(command.slot))
        elif isinstance(command, PromiseOccur):
            done = reply.ok
            if done:
                self._machine.occurred(command.schedule, command.date)
        elif isinstance(command, PromiseSupersede):
            done = reply.ok
        else:
            done = self._on_registered(command, reply, now)
        if not done:
            self._refused.append((now + self._retry_ms, command))
            text = "a request to another slot is refused; it is sent again"
            self._events.add("warning", text, status=reply.status, error=reply.error)

    def _on_registered(self, command: PromiseRegisterListener, reply: Reply, now: int) -> bool:
        """Act on the answer about a listener; return False if it must be asked for again."""
        slot = slot_of_address(command.address)
        assert slot is not None, command.address
        if reply.status in (404, 410):
            for task_id in self._machine.view.awaiters(command.awaited, slot):
                self._park(task_id, command.awaited, now)
            self._machine.forget_ask(command.awaited, slot)
            return True
        promise = reply.promise
        if reply.ok and promise is not None and promise.settled:
            self._machine.apply(PromiseAnnounce(slot, promise), now)
        return reply.ok

    def _park(self, task_id: str, awaited: str, now: int) -> None:
        """Halt a task that waits for a promise that does not exist."""
        task = self._machine.view.task(task_id)
        if task is None or task.state != "suspended":
            return
        cause = f"it waits for promise {awaited!r}, which does not exist"
        if self._machine.apply(TaskHalt(task_id, cause), now).ok:
            self._quarantine.note_parked(task, cause, "mismatch")


def _ignore(_: str, _answer: Response | Refused) -> None:
    """Do nothing."""


def _asker(command: SlotCommand) -> int | None:
    """Return the slot in whose name a request is made."""
    if isinstance(command, PromiseAnnounce):
        return slot_of(command.promise.id)
    if isinstance(command, PromiseOccur | PromiseSupersede):
        return slot_of(command.schedule)
    if isinstance(command, PromiseGet):
        return None
    return slot_of_address(command.address)
