"""The broker's core: sessions, dispatch and batches around one machine. Pure: no socket or clock.

Three verbs drive it, and every shell and simulator calls the same three::

    core.receive(peer, frame, now)               # for each frame that came
    step = core.step(now, find)                  # perform, and make a batch
    send(step.frames)
    ...                                          # commit step.batch.changes, make step.batch.reads
    send(core.committed(step.batch, replies))
    request(core.take_requests(now))             # of the owners of other slots; see `between_slots`
    read = core.searches.take()                  # make it beside all this; see `searches`

Theory of operation
===================

**A step.** `receive` decodes a frame and checks its number. Session messages (hello, credit,
heartbeat, acknowledgment) take effect at once; requests are queued. `step` then performs what is
queued, in the order in which it came, and in this order:

1. *Deferred requests* of peers that have taken their large replies go back into the queue, before
   what the same peers have asked for since.
2. *Select* as many requests as one commit should wait for, and *look up* the rows that they name
   and memory does not hold, together with the rows that due schedules may create.
3. *Perform* the requests. Each changes the machine's memory and adds its reply to the outbox.
4. *Tick*: give up peers whose lease or grace is over. It comes after the requests, so that a
   result that arrived in time counts, and before the dispatch, so that what these peers held is
   handed out in the same batch.
5. *Sweep*: deadlines, leases, schedules and retries that are due.
6. *Tell* peers of settlements and revocations. This comes before the dispatch, because a node must
   hear of a settlement no later than of the task that it resumes.
7. *Dispatch* pending tasks to nodes with credit.
8. Take everything that changed, and every message, as one *batch*, unless one is being committed.

**Nothing is told before its commit.** A message belongs to the batch whose changes it tells of, and
`committed` makes frames of it once the batch is durable. While one batch commits, the next
accumulates in memory; its messages wait for its own commit. So whatever a peer is told is on disk,
and if a commit fails, the shell stops and nothing that depended on it was said. Refusals,
heartbeats, welcomes and goodbyes depend on no commit: they are *urgent* and leave with the step.

**Late lookups.** `find` may answer at once, as SQLite does, or return None and answer later through
`found`. The selected requests then wait, and so do the sweep and the next batch: between a lookup
and the commands it is for, the machine must not forget what it had in memory. Frames are still
received, peers join and leave, heartbeats are answered and leases lapse. When the rows are there,
the next step goes on at 3. One lookup is under way at most.

**Searches** belong to no batch. One that was performed waits in `search_queue` until its batch is
committed, and then for its turn. The shell reads beside everything else, and the reply leaves with
the step that comes next (`searches`).

**Idle steps.** If nothing but heartbeats has come since a step that made no batch, and nothing is
due, a step only looks at the clock.

What is not perfect
===================

- Welcomes leave before the commit of what a hello changed. After a crash of the broker right then,
  a node may hear twice, from two starts of the broker, which claims it has lost. Both are right.
- A lookup that takes long delays deadlines and schedules as long as requests. A broker that must be
  on time needs an engine that is.
- A frame of many requests releases its bytes only when the last of them is answered.
- Two batches are never committed at the same time. A store with a long round trip and much
  bandwidth is used less than it could be; in exchange, order needs no further thought.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from understudy_broker.core.authorization import Authorization
from understudy_broker.core.between_slots import BetweenSlots
from understudy_broker.core.call_tally import CallTally
from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.delivery import DEFAULT_SCHEME, Delivery, Scheme
from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.events import Event, EventLog
from understudy_broker.core.expulsions import Expulsions
from understudy_broker.core.flow_control import FlowControl
from understudy_broker.core.lanes import Lanes
from understudy_broker.core.members import Members
from understudy_broker.core.membership import Membership
from understudy_broker.core.metrics import Metrics
from understudy_broker.core.outbox import Batch, BatchOutbox, Frame, Outbox
from understudy_broker.core.own_slots import OwnSlots
from understudy_broker.core.poll_scheme import PollScheme
from understudy_broker.core.progress import ProgressBook
from understudy_broker.core.quarantine import Quarantine
from understudy_broker.core.quotas import Quotas
from understudy_broker.core.receiver import Receiver
from understudy_broker.core.relay_scheme import RelayScheme
from understudy_broker.core.reply_coalescer import ReplyCoalescer
from understudy_broker.core.request_queue import RequestQueue
from understudy_broker.core.requests import RequestHandlers
from understudy_broker.core.retention import Retention
from understudy_broker.core.searches import Searches
from understudy_broker.core.sessions import Sessions
from understudy_broker.core.slot_moves import SlotMoves
from understudy_broker.core.watches import Watches
from understudy_broker.protocol.frames import encode
from understudy_broker.protocol.messages import Bye, Refused, Response, SlotCommand
from understudy_store.addresses import RELAYED_SCHEMES
from understudy_store.changes import Snapshot
from understudy_store.commands import Reply
from understudy_store.machine import Machine
from understudy_store.records import Row

#: Finds the rows of these ids in the store; None: they come later, through `BrokerCore.found`.
Find: TypeAlias = Callable[[set[str]], list[Row] | None]


class Step(msgspec.Struct, frozen=True):
    """Results of one step of the core.

    Attributes
    ----------
    frames
        May leave at once, in this order.
    events
        For the log.
    batch
        To be committed now, and then given to `BrokerCore.committed`; None if there is nothing to
        commit, or if an earlier batch is still being committed.
    due_at
        When the core wants its next step even if no frame comes, epoch milliseconds; None: never.
    """

    frames: list[Frame]
    events: list[Event]
    batch: Batch | None
    due_at: int | None


def _takes_all_at_once(_peer: bytes) -> bool:
    """Return False: for shells whose peers take each frame at once, so that no frame waits."""
    return False


class BrokerCore:
    """Owns the parts of the broker, and drives them in order.

    Attributes
    ----------
    sessions, dispatcher, metrics, own
        For shells and reports, which read them; a shell counts `metrics.peers_too_slow` itself.
    stalls
        Which pulses to look at, for shells.
    searches
        The searches that shells make; it has the purges, too.
    expulsions
        For shells that know whose keys are permitted.
    moves
        For shells that let slots come and leave; None: this broker owns all slots, for good.
    """

    def __init__(self, machine: Machine, dispatcher: Dispatcher, config: BrokerConfig) -> None:
        self.config = config
        self.machine = machine
        self.dispatcher = dispatcher
        self.sessions = sessions = Sessions()
        self.metrics = metrics = Metrics(CallTally() if config.counts_calls else None)
        metrics.add_source(lambda: {"peers": len(sessions)})
        metrics.add_source(lambda: msgspec.structs.asdict(machine.view.statistics()))
        self.quotas = quotas = Quotas(config.grant_of, machine.view, config.retention)
        self.flow = flow = FlowControl(config, sessions, quotas)
        self.own = own = OwnSlots(config)
        authorization = Authorization(config.grant_of, machine.view, own.has_id)
        self._events = events = EventLog()
        self._coalescer = late = ReplyCoalescer(config.reply_delay_ms)
        self._outbox = outbox = Outbox(sessions, late, config.frames, metrics, config.audit)
        watches, book = Watches(), ProgressBook(machine)
        members = Members(machine, dispatcher, sessions)
        self._relay = relay = RelayScheme(machine, outbox, events, metrics, config)
        drops = (members.drop, relay.drop)
        self._membership = membership = Membership(
            machine, dispatcher, sessions, outbox, watches, events, metrics, own, drops,
            authorization, quotas, config,
        )  # fmt: skip
        self.stalls = membership.stalls
        self._poll = poll = PollScheme(
            machine, dispatcher, sessions, members, membership, outbox, events, metrics,
            authorization, config,
        )  # fmt: skip
        self.expulsions = Expulsions(authorization, sessions, membership, outbox, self._note_input)
        quarantine = Quarantine(machine, events, metrics, config.deaths_max)
        schemes: dict[str, Scheme] = dict.fromkeys(RELAYED_SCHEMES, relay)
        schemes[DEFAULT_SCHEME] = self._poll
        #: None: this broker owns all slots, for good
        self._between: BetweenSlots | None = None
        if config.slots is not None:
            self._between = schemes["slot"] = BetweenSlots(
                machine, quarantine, events, metrics, config.unblock_retry_ms
            )
        self._delivery = delivery = Delivery(
            machine, sessions, outbox, watches, book, quarantine, schemes, events, metrics
        )
        self.moves: SlotMoves | None = None
        if self._between is not None:
            forgets = (watches.forget, poll.forget, relay.forget, book.forget, self._between.forget)
            self.moves = SlotMoves(
                own, machine, sessions, outbox, poll, quotas, forgets, delivery, self._note_input,
                config,
            )  # fmt: skip
        purges = Retention(config, machine, outbox, own, self._note_input, self._between)
        self.searches = searches = Searches(
            config, machine, dispatcher, sessions, flow, outbox, metrics, purges
        )
        self._handlers = RequestHandlers(
            machine, dispatcher, sessions, members, outbox, watches, book, flow, quarantine,
            metrics, own, searches, authorization, quotas, config,
        )  # fmt: skip
        self._queue = RequestQueue(machine, flow, own, Lanes() if quotas.is_on else None)
        self._receiver = Receiver(
            dispatcher, sessions, membership, self._poll, relay, self._queue, outbox, flow, metrics,
            quotas, book, config,
        )  # fmt: skip
        #: when the lookup that is under way was begun, and its rows, once they are there
        self._lookup_at: int | None = None
        self._rows: list[Row] | None = None
        #: the sweep left something that is due
        self._more_due, self._now = False, 0
        #: as in `follow`, until no lookup is under way
        self._ahead_ms: int | None = None
        #: A batch was handed out and is not committed yet; to be read by shells.
        self.committing = False
        #: Set by a shell whose store may be another's: nothing but hellos and heartbeats is done.
        self.held = False

    def start(self, snapshot: Snapshot, now: int, ahead_ms: int = 0) -> None:
        """Go on from a snapshot; holders of tasks get `boot_grace_ms` to come back.

        `ahead_ms` is as in `follow`.
        """
        self.machine.restore(snapshot, now, ahead_ms)
        self._relay.start(now)
        for address, record in self.machine.owed_unblocks():
            self._delivery.scheme_of(address).unblock(address, record)
        self._membership.start(now)
        self._poll.start(now)
        self.searches.retention.start(now)

    def follow(self, ahead_ms: int) -> None:
        """Let schedules run by the date that is `ahead_ms` less than `now`, from the next step on.

        The shell calls it when the wall clock was set: the core's own time goes on as before.
        """
        self._ahead_ms = ahead_ms
        self._receiver.has_input = True

    def _note_input(self) -> None:
        """Note that the next step has something to do."""
        self._receiver.has_input = True

    # Receiving -----------------------------------------------------------------------------------

    def note_connections(self, count: int, now: int) -> None:
        """Note how many connections are open, because each takes a descriptor of the process."""
        self._receiver.has_input = True
        self._membership.admission.note_connections(count, now)

    def mark_polled(self, now: int) -> None:
        """Note that everything peers had sent by `now` was read.

        To be called before what was read is given to `receive`, because silence in a time in which
        the broker itself did not listen is forgiven first. Not to be called if more is left.
        """
        self._membership.mark_polled(now)

    def receive(self, peer: bytes, frame: bytes | memoryview, now: int) -> None:
        """Take a frame: session messages take effect at once, requests wait for a step."""
        self._receiver.receive(peer, frame, now)

    def take_flooding(self) -> list[bytes]:
        """Return the peers that flood the broker since the last call: cut their connections."""
        found = self._receiver.flooding
        if found:
            self._receiver.flooding = []
        return found

    def connection_lost(self, peer: bytes, now: int, reason: str = "connection closed") -> None:
        """Note that the kernel closed a peer's connection, or that frames no longer reach it."""
        self._receiver.has_input = True
        self._membership.connection_lost(peer, now, reason)

    # Stepping ------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """True if enough waits for the next commit; the shell then reads no more."""
        return self.flow.full

    @property
    def has_deferred(self) -> bool:
        """True if requests wait until their peer has taken what it was sent."""
        return bool(self.flow.budget.deferred)

    @property
    def looking_up(self) -> bool:
        """True if a step waits for rows of the store."""
        return self._lookup_at is not None

    def step(
        self, now: int, find: Find, is_waiting: Callable[[bytes], bool] = _takes_all_at_once
    ) -> Step:
        """Perform what was received and what is due, and make a batch of it.

        Parameters
        ----------
        now
            Epoch milliseconds, never before those of an earlier call.
        find
            Called at most once, with the ids whose rows the requests of this step need. If it
            returns None, these requests wait until `found` was called and a later step goes on.
        is_waiting
            Whether frames for a peer still wait in the shell.
        """
        if not (
            self._receiver.has_input
            or self._queue.count
            or self._outbox.has_urgent
            or self.flow.budget.sent
        ):
            due_at = self._due_at(now)
            if due_at is None or due_at > now:
                return Step([], [], None, due_at)
        self._now = now
        if self.held:
            self._tick(now)
            return Step(self._outbox.take_urgent(), self._events.take(), None, self._ticks_at())
        if self._lookup_at is None:
            if self.moves is not None and self.moves.leaving:
                return self._settle_slots(self.moves, now)
            if self._ahead_ms is not None:
                self.machine.follow(self._ahead_ms, now)
                self._ahead_ms = None
            if self.flow.budget.sent:
                self._queue.put_back(self.flow.take_back(is_waiting))
            ids = self._queue.select(now)
            self._lookup_at = now
            self._rows = find(ids) if ids else []
        delayed_until = self._coalescer.due_at
        if delayed_until is not None and delayed_until <= now:
            self._outbox.flush_delayed()
        if self._rows is None:
            self._tick(now)
            frames = self._outbox.take_urgent()
            return Step(frames, self._events.take(), None, self._due_at(now))
        self._perform(now)
        return self._finish(now)

    def _settle_slots(self, moves: SlotMoves, now: int) -> Step:
        """Have everything committed that was performed, and then forget the slots that leave."""
        self._tick(now)
        self._delivery.settle()
        if self._between is not None:
            self._between.collect()
        step = self._finish(now)
        if self.committing:
            # Whatever else is due waits for the end of the commit.
            return Step(step.frames, step.events, step.batch, self._ticks_at())
        moves.expel()
        # Requests have waited for it.
        return Step(step.frames, step.events, None, now)

    def found(self, rows: list[Row]) -> None:
        """Take the rows for which the `find` of a step returned None."""
        assert self._lookup_at is not None
        assert self._rows is None
        self._rows = rows
        self._receiver.has_input = True

    def _perform(self, now: int) -> None:
        """Perform the selected requests and all that follows from them and from the time."""
        if self._rows:
            self.machine.load(self._rows)
        looked_up_at, self._lookup_at, self._rows = self._lookup_at, None, None
        performed = 0
        deferred = self.flow.budget.deferred
        selected, self._queue.selected = self._queue.selected, []
        for session, request in selected:
            if deferred and session.peer in deferred:
                deferred[session.peer].queue.append((session, request))
                continue
            performed += 1
            if isinstance(request, Bye):
                self._membership.leave(session, now)
            else:
                self._handlers.perform(session, request, now)
        self.metrics.requests += performed
        self.metrics.commands += performed
        self.searches.retention.perform(now)
        self._tick(now)
        self._more_due = self.machine.sweep(now, looked_up_at)
        self._delivery.settle()
        self._delivery.dispatch(now)
        if self._between is not None:
            self._between.collect()

    def _tick(self, now: int) -> None:
        self._membership.tick(now)
        self._poll.tick(now)
        self._relay.tick(now)

    def _finish(self, now: int) -> Step:
        """Make the results of a step, with a batch unless one is being committed."""
        frames = self._outbox.take_urgent() if self._outbox.has_urgent else []
        batch = None if self.committing else self._take_batch()
        delayed_until = None
        if batch is not None:
            if batch.changes or batch.reads:
                self.committing = True
                if batch.outbox.delayable:
                    delayed_until = self._outbox.delayed_until(batch.outbox, now)
            else:
                frames += self.committed(batch, [])
                batch = None
        due_at = self._due_at(now)
        if delayed_until is not None and (due_at is None or delayed_until < due_at):
            due_at = delayed_until
        events = self._events.take() if self._events.events else []
        return Step(frames, events, batch, due_at)

    def _ticks_at(self) -> int | None:
        """Return when something is due of what steps do that perform nothing."""
        times = (self._membership.next_due(), self._poll.next_due(), self._relay.due_at)
        return min((at for at in times if at is not None), default=None)

    def _due_at(self, now: int) -> int | None:
        """Return when the next step is due, epoch milliseconds."""
        due_at = self._membership.next_due()
        if self._lookup_at is None:
            if self._more_due or self._queue.count:
                return now
            at = self.machine.next_due()
            if at is not None and (due_at is None or at < due_at):
                due_at = at
        between_due_at = None if self._between is None else self._between.next_due()
        own_times = (self._poll.next_due(), self._relay.due_at, self._coalescer.due_at)
        for at in (*own_times, between_due_at, self.searches.retention.due_at()):
            if at is not None and (due_at is None or at < due_at):
                due_at = at
        return due_at

    # Between slots -------------------------------------------------------------------------------

    def take_requests(self, now: int) -> list[SlotCommand]:
        """Return requests to the owners of slots, for the shell to send.

        To be called after each step and each commit. The answer to each is given to `answered`.
        """
        return [] if self._between is None else self._between.take(now)

    def answered(self, command: SlotCommand, answer: Response | Refused, now: int) -> None:
        """Take the answer to a request that `take_requests` has returned."""
        assert self._between is not None
        self._receiver.has_input = True
        self._between.answered(command, answer, now)

    # Committing ----------------------------------------------------------------------------------

    def _take_batch(self) -> Batch | None:
        """Return everything since the last batch; None if there is nothing."""
        changes = self.machine.take()
        self.metrics.take(changes)
        if self.quotas.is_on:
            self.quotas.take(changes)
        outbox = self._outbox.take_batch()
        requests = [] if self._between is None else self._between.take_new()
        if outbox is None:
            if not changes and not requests:
                self.machine.committed(changes)
                self._receiver.has_input = False
                return None
            outbox = BatchOutbox()
        request_bytes, reply_bytes = self.flow.take_batch(self._queue.count)
        return Batch(changes, outbox, request_bytes, reply_bytes, requests)

    def committed(self, batch: Batch, replies: list[Reply]) -> list[Frame]:
        """Take note that a batch is durable, and return the frames that may leave now.

        Parameters
        ----------
        replies
            Of the batch's `reads`, in their order.
        """
        self.committing = False
        self.machine.committed(batch.changes)
        if batch.changes:
            self.metrics.commits += 1
        self.flow.on_committed(batch)
        if batch.requests and self._between is not None:
            self._between.release(batch.requests)
        if batch.outbox.reads:
            batch.outbox.fill(replies)
        if batch.outbox.searches:
            self.searches.queue.add(batch.outbox.searches)
        return self._outbox.frames_of(batch.outbox, self._now)

    def stop(self) -> list[Frame]:
        """Return the last frames for peers: delayed replies, and that this broker leaves."""
        self._outbox.flush_delayed()
        frames = self._outbox.take_urgent()
        bye = encode([Bye()])
        frames += [(session.peer, bye) for session in self.sessions]
        return frames
