"""The broker's core: what a router does with frames, as a pure machine. No socket, clock or thread.

Three verbs drive it, and every shell and simulator calls the same three::

    core.receive(peer, frame, now)        # for each frame that came
    step = core.step(now, find)           # perform, and give what may leave at once
    send(step.frames)
    ... commit step.batch.changes, then make step.batch.reads ...
    send(core.committed(step.batch, replies))

While one batch commits, the next accumulates; its messages wait for its own commit. So whatever a
peer is told is on disk, and if a commit fails nothing that depends on it was said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.delivery import Delivery
from understudy_broker.core.dispatcher import SUSPECT_DEATHS, Dispatcher
from understudy_broker.core.flow_control import Asked
from understudy_broker.core.membership import Event
from understudy_broker.core.outbox import Batch, Frame, Outbox
from understudy_broker.core.sessions import Session
from understudy_broker.protocol.frames import (
    FrameError,
    FrameSequence,
    decode_to_broker,
    encode,
    number_of,
    salvage,
)
from understudy_broker.protocol.messages import (
    Ack,
    Beat,
    Bye,
    Credit,
    GroupsGet,
    Hello,
    PromiseCreateWatched,
    PromiseUnwatch,
    PromiseWatch,
    Refused,
    Request,
    ToBroker,
)
from understudy_store.changes import Snapshot
from understudy_store.commands import (
    PromiseCreate,
    PromiseGet,
    Reply,
    StoreCommand,
    TaskFence,
)
from understudy_store.machine import Machine
from understudy_store.records import Row

#: settled promises that are loaded to be looked at, in one turn; each may have megabytes
_LOADED_MAX: Final = 8
#: commands that are performed in one turn: some milliseconds, after which the commit of what they
#: changed can begin, and what the last commit owes can leave
_ASKED_MAX: Final = 512
_FRAMES_MISSING: Final = Refused(412, "frames are missing on this connection: say hello again")
_WELCOME_FIRST: Final = Refused(412, "this connection is not known here: say hello first")


#: finds the rows of these ids in the store; None: they come later, by `BrokerCore.found`
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
        commit, or if a batch is under way already.
    due_at
        When the core wants its next step even if no frame comes, epoch milliseconds; None: never.
    """

    frames: list[Frame]
    events: list[Event]
    batch: Batch | None
    due_at: int | None


def _is_taken_at_once(_peer: bytes) -> bool:
    """For shells whose peers take each frame when it is sent."""
    return False


class BrokerCore(Delivery):
    """Sessions, watches, dispatch and batches around one machine."""

    def __init__(self, machine: Machine, dispatcher: Dispatcher, config: BrokerConfig) -> None:
        super().__init__(machine, dispatcher, config)
        #: requests that wait for a step to select them
        self._queue: list[Asked] = []
        #: requests of the step that is under way, whose rows are being looked up
        self._selected: list[Asked] = []
        #: when the lookup that is under way was begun; None: none is
        self._lookup_at: int | None = None
        self._rows: list[Row] | None = None
        #: a batch was handed out and is not committed yet
        self.committing = False
        self._taken = 0
        self._taken_bytes: dict[bytes, int] = {}
        self._more_due = False
        #: more than heartbeats has come since a step left nothing to do
        self._has_input = True

    def start(self, snapshot: Snapshot, now: int) -> None:
        """Go on from what the store has; holders of tasks get `boot_grace_ms` to come back."""
        self.machine.restore(snapshot, now)
        for address, record in self.machine.owed_unblocks():
            self.unblocks.add(address, record)
        self.membership.start(now)
        for pid in self.machine.view.pids():
            for id_, _ in self.machine.view.held(pid):
                task = self.machine.view.task(id_)
                if task is not None and task.deaths >= SUSPECT_DEATHS:
                    self.dispatcher.suspect(pid, id_, now)

    # Taking in ---------------------------------------------------------------------------------

    def receive(self, peer: bytes, frame: bytes | memoryview, now: int) -> None:
        """Take a frame: session messages act at once, requests wait for `apply`."""
        self.counters.frames += 1
        session = self.sessions.peer(peer)
        order = session.order if session is not None else None
        if session is not None and order is not None and not self._in_order(session, frame, now):
            return
        try:
            messages = decode_to_broker(frame, self.config.frames)
        except FrameError as error:
            self.counters.malformed += 1
            messages, bad = salvage(frame) if error.status == 400 else ([], [])
            for corr, text in bad:
                self.refuse(peer, Refused(400, text, corr=corr))
            if not messages and not bad:
                self.refuse(peer, Refused(error.status, str(error), fatal=error.status == 426))
                return
        if session is not None:
            session.heard_at = now
            if len(messages) == 1 and type(messages[0]) is Beat:
                self.counters.beats += 1
                self.membership.beaten(session, now)
                return
        self._has_input = True
        size = len(frame)
        for message in messages:
            if type(message) is Request and session is not None:
                self._take(session, message, size)
                size = 0
            elif type(message) is Hello:
                session = self.membership.hello(peer, message, now)
                if session is not None and (number := number_of(frame)) is not None:
                    session.order = order or FrameSequence(number)
            elif session is None:
                if type(message) is not Bye:
                    self.refuse(peer, _WELCOME_FIRST)
                return
            elif type(message) is Bye:
                # In its turn: what it asked for before leaving is still performed for it.
                self._queue.append((session, message))
                return
            else:
                self._session_message(session, message, now)

    def _in_order(self, session: Session, frame: bytes | memoryview, now: int) -> bool:
        """Whether this frame is the next one; if some are missing, the connection is over."""
        assert session.order is not None
        place = session.order.check(frame)
        if place == "again":
            self.counters.frames_repeated += 1
        elif place == "gap":
            self.counters.frames_missing += 1
            self.refuse(session.peer, _FRAMES_MISSING)
            self.membership.connection_lost(session.peer, now, "frames are missing")
        return place == "next"

    def _take(self, session: Session, request: Request, size: int) -> None:
        config = self.config
        if session.inflight >= config.inflight_max or (
            session.inflight_bytes > config.inflight_bytes_max
        ):
            text = f"{session.inflight} requests ({session.inflight_bytes} bytes) are unanswered"
            self.refuse(session.peer, Refused(429, text, corr=request.corr))
            return
        session.inflight += 1
        if size:
            session.inflight_bytes += size
            self._taken_bytes[session.peer] = self._taken_bytes.get(session.peer, 0) + size
        self._taken += 1
        self._queue.append((session, request))

    def _session_message(self, session: Session, message: ToBroker, now: int) -> None:
        if type(message) is Credit:
            self.dispatcher.credit(session.pid, message.total)
        elif type(message) is Beat:
            self.counters.beats += 1
            self.membership.beaten(session, now)
        elif type(message) is Ack and self.unblocks.acknowledged(message.id, message.address):
            self.machine.acknowledge(message.id, message.address)

    @property
    def full(self) -> bool:
        """Whether enough waits for the next commit; the shell then listens no more."""
        return (
            self._taken >= self.config.batch_requests_max
            or sum(self._taken_bytes.values()) >= self.config.batch_bytes_max
        )

    @property
    def has_deferred(self) -> bool:
        """Whether requests wait until their peer has taken what it was sent."""
        return bool(self.burdens.over)

    @property
    def looking_up(self) -> bool:
        """Whether a step waits for rows of the store."""
        return self._lookup_at is not None

    # Stepping ----------------------------------------------------------------------------------

    def step(
        self, now: int, find: Find, is_waiting: Callable[[bytes], bool] = _is_taken_at_once
    ) -> Step:
        """Perform what was received and what is due, and make a batch of it.

        If nothing but heartbeats has come and nothing is due, this costs next to nothing.

        Parameters
        ----------
        now
            Epoch milliseconds, never before those of an earlier call.
        find
            Called at most once, with the ids whose rows the commands of this step need. If it
            returns None, these commands wait until `found` was called and a later step goes on with
            them; meanwhile steps go on with sessions and heartbeats, and nothing else is looked up.
        is_waiting
            Whether frames for a peer still wait in the shell.
        """
        if not (self._has_input or self._queue or self._urgent or self.burdens.sent):
            due_at = self._due_at(now)
            if due_at is None or due_at > now:
                return Step([], [], None, due_at)
        self._now = now
        batch = None
        if self._lookup_at is None:
            self._take_back_deferred(is_waiting)
            ids = self._select(now)
            self._lookup_at = now
            self._rows = find(ids) if ids else []
        due_at = self._patience.due_at
        if due_at is not None and due_at <= now:
            self.be_impatient()
        if self._rows is None:
            self.membership.tick(now)
            frames = self.take_urgent()
        else:
            self._perform_selected(now)
            if not self.committing:
                batch = self._take_batch()
            frames = self.take_urgent()
            if batch is not None and not batch.writes:
                frames += self.committed(batch, [])
                batch = None
        due_at = self._due_at(now)
        if batch is not None:
            self.committing = True
            delayed_until = self._delayed_until(batch)
            if delayed_until is not None and (due_at is None or delayed_until < due_at):
                due_at = delayed_until
        return Step(frames, self.membership.take_events(), batch, due_at)

    def found(self, rows: list[Row]) -> None:
        """The rows are there for which the `find` of a step returned None."""
        assert self._lookup_at is not None
        assert self._rows is None
        self._rows = rows
        self._has_input = True

    def _take_back_deferred(self, is_waiting: Callable[[bytes], bool]) -> None:
        """Go on with the requests of peers that have taken all that they were sent."""
        for peer in self.burdens.sent:
            if is_waiting(peer):
                continue
            put_off = self.burdens.drained(peer)
            if put_off is not None:
                # before what it has asked for since
                self._queue[:0] = put_off.queue
                if put_off.size:
                    self._taken_bytes[peer] = self._taken_bytes.get(peer, 0) + put_off.size

    def _select(self, now: int) -> set[str]:
        """Select the requests of this step; returns the ids that must be loaded first."""
        queue = self._queue
        if self.burdens.over:
            queue = self.burdens.sift(queue)
        commands: list[StoreCommand] = []
        created: set[str] = set()
        record = self.machine.view.record
        loaded = asked = 0
        end = len(queue)
        for place, (_, request) in enumerate(queue):
            if isinstance(request, Bye):
                continue
            command = request.command
            if isinstance(command, PromiseCreateWatched):
                command = command.create
            kind = type(command)
            asked += len(command.commands) if kind is TaskFence else 1  # type: ignore[union-attr]
            if asked > _ASKED_MAX and place:
                end = place
                break
            if kind is PromiseCreate:
                created.add(command.id)  # type: ignore[union-attr]
            elif isinstance(command, PromiseGet | PromiseWatch):
                ids = command.ids if isinstance(command, PromiseWatch) else (command.id,)
                loaded += sum(record(id_) is None and id_ not in created for id_ in ids)
                if loaded > _LOADED_MAX and place:
                    end = place
                    break
                if kind is PromiseWatch:
                    commands.extend(map(PromiseGet, ids))
                    continue
            if kind is not PromiseUnwatch and kind is not GroupsGet:
                commands.append(command)  # type: ignore[arg-type]
        self._selected, self._queue = queue[:end], queue[end:]
        found = self.machine.lookups(commands) if commands else set()
        return found | self.machine.due_lookups(now)

    def _perform_selected(self, now: int) -> None:
        """Perform the requests of this step, give up who is gone, sweep, and hand out tasks."""
        rows, self._rows = self._rows, None
        looked_up_at, self._lookup_at = self._lookup_at, None
        if rows:
            self.machine.load(rows)
        selected, self._selected = self._selected, []
        over = self.burdens.over
        put_off = 0
        for session, request in selected:
            if over and session.peer in over:
                over[session.peer].queue.append((session, request))
                put_off += 1
                continue
            if isinstance(request, Bye):
                self.membership.bye(session, now)
                continue
            self.perform(session, request, now)
        self.counters.requests += len(selected) - put_off
        self.counters.commands += len(selected) - put_off
        self.membership.tick(now)
        self._more_due = self.machine.sweep(now, looked_up_at)
        self._settle()
        self._dispatch(now)

    # Committing --------------------------------------------------------------------------------

    def _take_batch(self) -> Batch | None:
        """Everything since the last batch; None if there is nothing. One batch at a time."""
        changes = self.machine.take()
        if not changes and not self._outbox:
            self.machine.committed(changes)
            self._has_input = False
            return None
        taken_bytes: dict[bytes, int] = {}
        if not self._queue:
            # all that came in these frames is applied, but for what is put off
            taken_bytes, self._taken_bytes = self._taken_bytes, taken_bytes
            self.burdens.set_aside(taken_bytes)
        batch = Batch(changes, self._outbox, taken_bytes)
        self._outbox = Outbox()
        self._taken = len(self._queue)
        return batch

    def _delayed_until(self, batch: Batch) -> int | None:
        """When replies of this batch that will be delayed for company are to leave at last."""
        messages = batch.outbox.messages
        for peer, count in batch.outbox.patient.items():
            if count == len(messages[peer]):
                return self._now + self._patience.wait_ms
        return None

    def committed(self, batch: Batch, replies: list[Reply]) -> list[Frame]:
        """The batch is on disk: forget what is history, and return what may now be sent.

        Parameters
        ----------
        replies
            Of the batch's `reads`, in their order.
        """
        self.committing = False
        self.machine.committed(batch.changes)
        if batch.changes:
            self.counters.commits += 1
        if batch.outbox.weights:
            self.burdens.committed(batch.outbox.weights)
        batch.outbox.fill(replies)
        for peer, count in batch.outbox.answered.items():
            session = self.sessions.peer(peer)
            if session is not None:
                # Never below nothing: the requests may be those of an earlier hello.
                session.inflight = max(0, session.inflight - count)
        for peer, taken in batch.taken_bytes.items():
            session = self.sessions.peer(peer)
            if session is not None:
                session.inflight_bytes = max(0, session.inflight_bytes - taken)
        return self._packed(batch.outbox)

    # Time --------------------------------------------------------------------------------------

    def mark_polled(self, now: int) -> None:
        """All that peers had said by `now` has been read.

        To be called before what was read is given to `receive`: silence in a time in which the
        broker itself did not listen is forgiven first. Not to be called if more is left to read.
        """
        self.membership.polled(now)

    def _due_at(self, now: int) -> int | None:
        """When the next step is due, epoch milliseconds."""
        at = self.membership.next_due()
        if self._lookup_at is None:
            if self._more_due or self._queue:
                return now
            at = _earlier(at, self.machine.next_due())
        return _earlier(at, self._patience.due_at)

    def connection_lost(self, peer: bytes, now: int, reason: str = "connection closed") -> None:
        """The kernel closed this peer's connection, or frames no longer reach it."""
        self._has_input = True
        self.membership.connection_lost(peer, now, reason)

    def stop(self) -> list[Frame]:
        """Return what every peer is still to be told: delayed replies, and that this broker leaves.

        Not to be called while a batch is being committed, as far as that can be helped.
        """
        self.be_impatient()
        frames = self.take_urgent()
        bye = encode([Bye()])
        frames += [(session.peer, bye) for session in self.sessions]
        return frames


def _earlier(one: int | None, other: int | None) -> int | None:
    if one is None or (other is not None and other < one):
        return other
    return one
