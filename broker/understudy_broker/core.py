"""The broker's core: what a router does with frames, as a pure machine. No socket, clock or thread.

A shell (or a simulator) drives it, always in this order::

    core.polled(now)                      # the peers have been listened to until now
    core.receive(peer, frame, now)        # for each frame that came
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

from collections.abc import Callable, Iterable
from typing import Any, Final

from understudy_broker.burdens import LIGHT_BYTES_MAX, Asked, Burdens, weight, weight_of
from understudy_broker.config import BrokerConfig
from understudy_broker.counters import Counters
from understudy_broker.dispatcher import SUSPECT_DEATHS, Dispatcher
from understudy_broker.membership import Membership
from understudy_broker.outbox import Batch, Frame, Outbox, pack
from understudy_broker.parking import parks
from understudy_broker.patience import Patience, is_patient
from understudy_broker.protocol.frames import (
    FrameError,
    Order,
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
    Invoke,
    Message,
    PromiseUnwatch,
    PromiseWatch,
    Refused,
    Request,
    Response,
    Resume,
    Revoked,
    Settled,
    ToBroker,
    Unblock,
)
from understudy_broker.report import groups_report
from understudy_broker.sessions import Session
from understudy_broker.unblocks import Unblocks
from understudy_broker.watches import Watches
from understudy_store.changes import Row, Snapshot
from understudy_store.commands import (
    PromiseCreate,
    PromiseGet,
    PromiseSearch,
    ReadCommand,
    Reply,
    ScheduleSearch,
    StoreCommand,
    TaskAcquire,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskHeartbeat,
    TaskPreload,
    TaskSearch,
    TaskSuspend,
)
from understudy_store.limits import KIB, MIB
from understudy_store.machine import Machine
from understudy_store.records import PromiseRecord

#: settled promises that are loaded to be looked at, in one turn; each may have megabytes
_LOADED_MAX: Final = 8
#: what an answer is taken to weigh that only the engine can make
_PRELOAD_BYTES: Final = 256 * KIB
_PAGE_BYTES: Final = 2 * MIB

_STALE: Final = frozenset({TaskFence, TaskFulfill, TaskSuspend})
_FRAMES_MISSING: Final = Refused(412, "frames are missing on this connection: say hello again")
_DONE: Final = Reply(200)
_WELCOME_FIRST: Final = Refused(412, "this connection is not known here: say hello first")


class BrokerCore:
    """Sessions, watches, dispatch and batches around one machine."""

    def __init__(self, machine: Machine, dispatcher: Dispatcher, config: BrokerConfig) -> None:
        self.machine = machine
        self.dispatcher = dispatcher
        self.config = config
        self.counters = Counters()
        self.unblocks = Unblocks()
        self._watches = Watches()
        self._urgent = Outbox()
        self._outbox = Outbox()
        self.burdens = Burdens(config.outgoing_bytes_max // 4)
        self._patience = Patience(config.patience_ms)
        self._queue: list[Asked] = []
        #: behind `_queue`, for the turn after this one
        self._later: list[Asked] = []
        self._taken = 0
        self._taken_bytes: dict[bytes, int] = {}
        self._more_due = False
        self._now = 0
        self.membership = Membership(self, self._watches)
        self.sessions = self.membership.sessions
        self._performers: dict[type[Any], Callable[[Session, int, Any, int], None]] = {
            PromiseWatch: self._watch,
            PromiseUnwatch: self._unwatch,
            GroupsGet: self._report,
            TaskPreload: self._read,
            PromiseSearch: self._read,
            TaskSearch: self._read,
            ScheduleSearch: self._read,
            TaskCreate: self._with_pid,
            TaskAcquire: self._with_pid,
            TaskHeartbeat: self._with_pid,
        }

    def start(self, snapshot: Snapshot, now: int) -> None:
        """Go on from what the store has; holders of tasks get `boot_grace_ms` to come back."""
        self.machine.restore(snapshot, now)
        for address, record in self.machine.owed_unblocks():
            self.unblocks.add(address, record)
        self.membership.start(snapshot, now)
        for task in (row.task for row in snapshot.live):
            if task is not None and task.pid is not None and task.deaths >= SUSPECT_DEATHS:
                self.dispatcher.suspect(task.pid, task.id, now)

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
        size = len(frame)
        for message in messages:
            if type(message) is Request and session is not None:
                self._take(session, message, size)
                size = 0
            elif type(message) is Hello:
                session = self.membership.hello(peer, message, now)
                if session is not None and (number := number_of(frame)) is not None:
                    session.order = order or Order(number)
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
            self.membership.renew(session, now)
            self._urgent.add(session.peer, Beat())
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

    def refuse(self, peer: bytes, refused: Refused) -> None:
        """Say so at once, and count it."""
        self.counters.refused += 1
        self._urgent.add(peer, refused)

    def say(self, peer: bytes, message: Any, *, urgent: bool = False) -> None:
        """Owe a message: with the next commit, or at once if it depends on none."""
        (self._urgent if urgent else self._outbox).add(peer, message)

    def take_urgent(self) -> list[Frame]:
        """What may be sent before any commit: refusals, beats, welcomes."""
        if not self._urgent:
            return []
        outbox, self._urgent = self._urgent, Outbox()
        frames: list[Frame] = []
        for peer, messages in outbox.messages.items():
            frames += self._frames(peer, messages)
        return frames

    @property
    def full(self) -> bool:
        """Whether enough waits for the next commit; the shell then listens no more."""
        return (
            self._taken >= self.config.batch_requests_max
            or sum(self._taken_bytes.values()) >= self.config.batch_bytes_max
        )

    # Applying ----------------------------------------------------------------------------------

    def lookups(self, now: int) -> set[str]:
        """Ids that must be loaded before `apply(now)`."""
        if self.burdens.over:
            self._queue = self.burdens.sift(self._queue)
        commands: list[StoreCommand] = []
        created: set[str] = set()
        record = self.machine.record
        loaded = 0
        for place, (_, request) in enumerate(self._queue):
            if isinstance(request, Bye):
                continue
            command = request.command
            kind = type(command)
            if kind is PromiseCreate:
                created.add(command.id)  # type: ignore[union-attr]
            elif isinstance(command, PromiseGet | PromiseWatch):
                ids = command.ids if isinstance(command, PromiseWatch) else (command.id,)
                loaded += sum(record(id_) is None and id_ not in created for id_ in ids)
                if loaded > _LOADED_MAX and place:
                    self._later = self._queue[place:]
                    del self._queue[place:]
                    break
                if kind is PromiseWatch:
                    commands.extend(map(PromiseGet, ids))
                    continue
            if kind is not PromiseUnwatch and kind is not GroupsGet:
                commands.append(command)  # type: ignore[arg-type]
        found = self.machine.lookups(commands) if commands else set()
        return found | self.machine.due_lookups(now)

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
        performers = self._performers
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
            command = request.command
            performer = performers.get(type(command))
            if performer is not None:
                performer(session, request.corr, command, now)
            else:
                self._perform(session, request.corr, command, now)
        self.counters.requests += len(queue) - put_off
        self.counters.commands += len(queue) - put_off
        self.membership.tick(now)
        self._more_due = self.machine.sweep(now)
        self._settle()
        self._dispatch(now)

    def _perform(self, session: Session, corr: int, command: Any, now: int) -> None:
        reply = self.machine.apply(command, now)
        kind = type(command)
        if kind in _STALE:
            if kind is TaskFence:
                self.counters.commands += len(command.commands)
            if reply.status == 409:
                self.counters.stale_writes += 1
        size = weight_of(reply)
        if size > LIGHT_BYTES_MAX:
            self._owe(session.peer, size)
        if kind is TaskFulfill and reply.ok:
            # whose result it is knows it
            reply = _DONE
        patient = self._patience.wait_ms > 0 and is_patient(session, command, reply)
        self._outbox.answer(session.peer, Response(corr, reply), patient=patient)

    def _owe(self, peer: bytes, size: int) -> None:
        self._outbox.weigh(peer, size)
        self.burdens.owe(peer, size)

    def _with_pid(self, session: Session, corr: int, command: Any, now: int) -> None:
        """Leases are taken and renewed in one's own name only: this connection vouches for it."""
        if command.pid != session.pid:
            text = f"pid {command.pid!r} is not this connection's, which is {session.pid!r}"
            self._outbox.answer(session.peer, Response(corr, Reply(400, text)))
        else:
            self._perform(session, corr, command, now)

    def _read(self, session: Session, corr: int, command: ReadCommand, now: int) -> None:
        """The machine checks it, the engine answers it after the commit."""
        reply = self.machine.apply(command, now)
        if reply.ok:
            self._owe(session.peer, _PRELOAD_BYTES if type(command) is TaskPreload else _PAGE_BYTES)
            self._outbox.owe(session.peer, Response(corr, reply), command, now)
        else:
            self._outbox.answer(session.peer, Response(corr, reply))

    def _watch(self, session: Session, corr: int, command: PromiseWatch, now: int) -> None:
        self._outbox.answer(session.peer, Response(corr, self._watched(session, command, now)))

    def _watched(self, session: Session, command: PromiseWatch, now: int) -> Reply:
        limits = self.config.limits
        if len(command.ids) > limits.batch_max:
            return Reply(400, f"{len(command.ids)} ids; at most {limits.batch_max} in one watch")
        if len(session.watches) + len(command.ids) > self.config.watches_max:
            return Reply(429, f"more than {self.config.watches_max} promises watched")
        settled: list[PromiseRecord] = []
        pending: list[str] = []
        for id_ in command.ids:
            reply = self.machine.apply(PromiseGet(id_), now)
            if reply.promise is None:
                return Reply(reply.status, reply.error)
            if reply.promise.settled:
                settled.append(reply.promise)
            else:
                pending.append(id_)
        size = weight(settled)
        if size > self.burdens.bytes_max and len(command.ids) > 1:
            return Reply(413, f"what is settled of these has {size} bytes: watch fewer at a time")
        if size > LIGHT_BYTES_MAX:
            self._owe(session.peer, size)
        # The session that asked may have ended, or begun anew on the same connection.
        current = self.sessions.peer(session.peer)
        if current is not None:
            self._watches.add(current, pending)
        return Reply(200, promises=settled)

    def _unwatch(self, session: Session, corr: int, command: PromiseUnwatch, now: int) -> None:
        del now
        self._watches.remove(session, command.ids)
        self._outbox.answer(session.peer, Response(corr, Reply(200)))

    def _report(self, session: Session, corr: int, command: GroupsGet, now: int) -> None:
        del command
        report = groups_report(self.machine, self.dispatcher, self.sessions, self.counters, now)
        self._outbox.answer(session.peer, Response(corr, Reply(200), report))

    # Owing -------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Tell watchers and holders of what settled, and owe what listeners are owed."""
        told: dict[bytes, list[PromiseRecord]] = {}
        for settlement in self.machine.take_settled():
            promise = settlement.promise
            self.counters.settled += 1
            self.dispatcher.withdraw(promise.id)
            watchers = self._watches.settle(promise.id)
            holder = settlement.holder and self.sessions.holder(settlement.holder)
            if holder and not (watchers and holder in watchers):
                told.setdefault(holder.peer, []).append(promise)
            for watcher in watchers or ():
                told.setdefault(watcher.peer, []).append(promise)
        for peer, promises in told.items():
            self._outbox.add(peer, Settled(promises))
        for revocation in self.machine.take_revoked():
            loser = self.sessions.holder(revocation.pid)
            if loser is not None:
                revoked = Revoked(revocation.id, revocation.version, revocation.reason)
                self._outbox.add(loser.peer, revoked)
        for address, record in self.machine.take_unblocks():
            self.unblocks.add(address, record)
            receiver = self.unblocks.route(address, self.sessions)
            if receiver is not None:
                self._outbox.add(receiver.peer, Unblock(address, record))

    def _dispatch(self, now: int) -> None:
        for execute in self.machine.take_executes():
            if not (execute.deaths and parks(self, execute, now)):
                self.dispatcher.offer(execute, now)
        refunded = True
        while refunded:
            refunded = False
            self.dispatcher.review(self._has_suspect, now)
            for made in self.dispatcher.assign(now):
                command = TaskAcquire(made.id, made.version, made.pid, self.config.lease_ttl_ms)
                reply = self.machine.apply(command, now)
                session = self.sessions.holder(made.pid)
                if not reply.ok or session is None:
                    self.dispatcher.refund(made.pid)
                    refunded = True
                else:
                    self._hand_over(session, reply, made.warm, now)

    def _has_suspect(self, pid: str, task_id: str) -> bool:
        """Whether a node still holds a task that is a suspect yet."""
        task = self.machine.task(task_id)
        return task is not None and task.pid == pid and task.deaths >= SUSPECT_DEATHS

    def _hand_over(self, session: Session, reply: Reply, warm: bool, now: int) -> None:
        promise, task = reply.promise, reply.task
        assert promise is not None
        assert task is not None
        self.counters.dispatched += 1
        if task.version == 1:
            self._outbox.add(session.peer, Invoke(promise, 1))
            return
        resume = Resume(promise, task.version, None, task.failures)
        if warm:
            self._outbox.add(session.peer, resume)
        else:
            self._outbox.owe(session.peer, resume, TaskPreload(task.id, task.version), now)

    # Committing --------------------------------------------------------------------------------

    def take_batch(self) -> Batch | None:
        """Everything since the last batch; None if there is nothing. One batch at a time."""
        changes = self.machine.take()
        if not changes and not self._outbox:
            self.machine.committed(changes)
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

    def _packed(self, outbox: Outbox) -> list[Frame]:
        """Frames for who is still there: pushes first, then answers, patient ones not yet.

        Who gets a push has been waiting for it; mere answers mostly say what was expected, and
        their readers would take the processor first.
        """
        frames: list[Frame] = []
        answers: list[Frame] = []
        patience = self._patience
        for peer, messages in outbox.messages.items():
            if peer not in self.sessions:
                continue
            if outbox.patient.get(peer) == len(messages) and patience.hold(
                peer, messages, self._now
            ):
                continue
            mere = type(messages[-1]) is Response
            packed = self._frames(peer, patience.ride(peer, messages))
            (answers if mere else frames).extend(packed)
        return frames + answers

    def _frames(self, peer: bytes, messages: list[Message]) -> list[Frame]:
        """Numbered in the order in which they are to leave, where the peer is known."""
        packed = pack(peer, messages, self.config.frames)
        session = self.sessions.peer(peer)
        if session is None or session.order is None:
            return packed
        stamp = session.order.stamp
        return [(peer, stamp(frame)) for _, frame in packed]

    def be_impatient(self) -> None:
        """Let answers go that were held back; `take_urgent` has them."""
        for peer, messages in self._patience.take().items():
            if peer in self.sessions:
                for message in messages:
                    self._urgent.add(peer, message)

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
        self.membership.connection_lost(peer, now, reason)
