"""The broker's core: what a router does with frames, as a pure machine. No socket, clock or thread.

A shell (or a simulator) drives it, always in this order::

    core.polled(now)                      # the peers have been listened to until now
    core.receive(peer, frame, now)        # for each frame that came
    core.calm(now)                        # if so, and nothing commits or waits: that was all
    core.drained(peer)                    # of core.burdens.sent: nothing waits for it any more
    core.load(store.find(core.lookups(now)))
    core.apply(now)                       # memory has changed; nothing is sent yet
    send(core.take_urgent())              # what depends on no commit
    batch = core.take_batch()             # when no other batch is being committed
    ... commit batch.changes, then make batch.reads ...
    send(core.committed(batch, replies))

While one batch commits, the next accumulates; its messages wait for its own commit. So whatever a
peer is told is on disk, and if a commit fails nothing that depends on it was said.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.delivery import Delivery
from understudy_broker.core.dispatcher import SUSPECT_DEATHS, Dispatcher
from understudy_broker.core.flow_control import Asked
from understudy_broker.core.outbox import Batch, Frame, Outbox
from understudy_broker.core.sessions import Session
from understudy_broker.protocol.frames import (
    FrameError,
    FrameSequence,
    decode_to_broker,
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
from understudy_store.changes import Row, Snapshot
from understudy_store.commands import (
    PromiseCreate,
    PromiseGet,
    Reply,
    StoreCommand,
    TaskFence,
)
from understudy_store.machine import Machine

#: settled promises that are loaded to be looked at, in one turn; each may have megabytes
_LOADED_MAX: Final = 8
#: commands that are performed in one turn: some milliseconds, after which the commit of what they
#: changed can begin, and what the last commit owes can leave
_ASKED_MAX: Final = 512
_FRAMES_MISSING: Final = Refused(412, "frames are missing on this connection: say hello again")
_WELCOME_FIRST: Final = Refused(412, "this connection is not known here: say hello first")


class BrokerCore(Delivery):
    """Sessions, watches, dispatch and batches around one machine."""

    def __init__(self, machine: Machine, dispatcher: Dispatcher, config: BrokerConfig) -> None:
        super().__init__(machine, dispatcher, config)
        self._queue: list[Asked] = []
        #: behind `_queue`, for the turn after this one
        self._later: list[Asked] = []
        self._taken = 0
        self._taken_bytes: dict[bytes, int] = {}
        self._more_due = False
        #: more than beats has come since a turn left nothing to do
        self._stirred = True

    def start(self, snapshot: Snapshot, now: int) -> None:
        """Go on from what the store has; holders of tasks get `boot_grace_ms` to come back."""
        self.machine.restore(snapshot, now)
        for address, record in self.machine.owed_unblocks():
            self.unblocks.add(address, record)
        self.membership.start(now)
        for pid in self.machine.pids():
            for id_, _ in self.machine.held(pid):
                task = self.machine.task(id_)
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
        self._stirred = True
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

    def drained(self, peer: bytes) -> None:
        """Nothing that was sent to this peer waits in the shell: go on with what it asked for."""
        put_off = self.burdens.drained(peer)
        if put_off is not None:
            # before what it has asked for since
            self._queue[:0] = put_off.queue
            if put_off.size:
                self._taken_bytes[peer] = self._taken_bytes.get(peer, 0) + put_off.size

    @property
    def full(self) -> bool:
        """Whether enough waits for the next commit; the shell then listens no more."""
        return (
            self._taken >= self.config.batch_requests_max
            or sum(self._taken_bytes.values()) >= self.config.batch_bytes_max
        )

    def calm(self, now: int) -> bool:
        """Whether nothing has come but beats since there was nothing to do, and nothing is due: the
        rest of a turn would be for nothing."""
        if self._stirred or self._queue or self._urgent or self.burdens.sent:
            return False
        due = self.next_due(now)
        return due is None or due > now

    # Applying ----------------------------------------------------------------------------------

    def lookups(self, now: int) -> set[str]:
        """Ids that must be loaded before `apply(now)`."""
        if self.burdens.over:
            self._queue = self.burdens.sift(self._queue)
        commands: list[StoreCommand] = []
        created: set[str] = set()
        record = self.machine.record
        loaded = asked = 0
        for place, (_, request) in enumerate(self._queue):
            if isinstance(request, Bye):
                continue
            command = request.command
            if isinstance(command, PromiseCreateWatched):
                command = command.create
            kind = type(command)
            asked += len(command.commands) if kind is TaskFence else 1  # type: ignore[union-attr]
            if asked > _ASKED_MAX and place:
                self._leave(place)
                break
            if kind is PromiseCreate:
                created.add(command.id)  # type: ignore[union-attr]
            elif isinstance(command, PromiseGet | PromiseWatch):
                ids = command.ids if isinstance(command, PromiseWatch) else (command.id,)
                loaded += sum(record(id_) is None and id_ not in created for id_ in ids)
                if loaded > _LOADED_MAX and place:
                    self._leave(place)
                    break
                if kind is PromiseWatch:
                    commands.extend(map(PromiseGet, ids))
                    continue
            if kind is not PromiseUnwatch and kind is not GroupsGet:
                commands.append(command)  # type: ignore[arg-type]
        found = self.machine.lookups(commands) if commands else set()
        return found | self.machine.due_lookups(now)

    def _leave(self, place: int) -> None:
        """What stands in the queue from there on has its turn after this one."""
        self._later = self._queue[place:]
        del self._queue[place:]

    def load(self, rows: Iterable[Row]) -> None:
        """Give the machine what the store has of the `lookups`."""
        self.machine.load(list(rows))

    def apply(self, now: int) -> None:
        """Perform all that was taken, let go of who is gone, sweep, and hand out what can be."""
        queue, self._queue, self._later = self._queue, self._later, []
        self._now = now
        due_at = self._patience.due_at
        if due_at is not None and due_at <= now:
            self.be_impatient()
        over = self.burdens.over
        put_off = 0
        for session, request in queue:
            if over and session.peer in over:
                over[session.peer].queue.append((session, request))
                put_off += 1
                continue
            if isinstance(request, Bye):
                self.membership.bye(session, now)
                continue
            self.perform(session, request, now)
        self.counters.requests += len(queue) - put_off
        self.counters.commands += len(queue) - put_off
        self.membership.tick(now)
        self._more_due = self.machine.sweep(now)
        self._settle()
        self._dispatch(now)

    # Committing --------------------------------------------------------------------------------

    def take_batch(self) -> Batch | None:
        """Everything since the last batch; None if there is nothing. One batch at a time."""
        changes = self.machine.take()
        if not changes and not self._outbox:
            self.machine.committed(changes)
            self._stirred = False
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

    def committed(self, batch: Batch, replies: list[Reply]) -> list[Frame]:
        """The batch is on disk: forget what is history, and return what may now be sent."""
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

    def polled(self, now: int) -> None:
        """All that peers had said by `now` is taken, or is about to be, before the next `apply`."""
        self.membership.polled(now)

    def next_due(self, now: int) -> int | None:
        """When the core wants to be driven again even if no frame comes, epoch milliseconds."""
        if self._more_due or self._queue:
            return now
        times = [self.machine.next_due(), self.membership.next_due(), self._patience.due_at]
        return min((at for at in times if at is not None), default=None)

    def connection_lost(self, peer: bytes, now: int, reason: str = "connection closed") -> None:
        """The kernel closed this peer's connection, or frames no longer reach it."""
        self._stirred = True
        self.membership.connection_lost(peer, now, reason)
