"""Requests and their answers: what the broker's core does for each kind of command. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.context import BrokerContext
from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.flow_control import LIGHT_BYTES_MAX, weight, weight_of
from understudy_broker.core.reply_coalescer import is_patient
from understudy_broker.core.report import groups_report
from understudy_broker.core.sessions import Session
from understudy_broker.protocol.messages import (
    GroupsGet,
    PromiseCreateWatched,
    PromiseUnwatch,
    PromiseWatch,
    Request,
    Response,
)
from understudy_store.commands import (
    PromiseGet,
    PromiseSearch,
    ReadCommand,
    Reply,
    ScheduleSearch,
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

#: what an answer is taken to weigh that only the engine can make
_PRELOAD_BYTES: Final = 256 * KIB
_PAGE_BYTES: Final = 2 * MIB

_STALE: Final = frozenset({TaskFence, TaskFulfill, TaskSuspend})
_DONE: Final = Reply(200)
_CREATED: Final = Reply(201)


class RequestHandlers(BrokerContext):
    """Each command is performed for a session, at a time, and answered with the next commit."""

    def __init__(self, machine: Machine, dispatcher: Dispatcher, config: BrokerConfig) -> None:
        super().__init__(machine, dispatcher, config)
        self._performers: dict[type[Any], Callable[[Session, int, Any, int], None]] = {
            PromiseCreateWatched: self._create_watched,
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

    def perform(self, session: Session, request: Request, now: int) -> None:
        """Perform a request, and owe its answer."""
        command = request.command
        performer = self._performers.get(type(command), self._perform)
        performer(session, request.corr, command, now)

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

    def _create_watched(
        self, session: Session, corr: int, command: PromiseCreateWatched, now: int
    ) -> None:
        if len(session.watches) >= self.config.watches_max:
            reply = Reply(429, f"more than {self.config.watches_max} promises watched")
        else:
            reply = self.machine.apply(command.create, now)
        promise = reply.promise
        if reply.ok and promise is not None and not promise.settled:
            self._watch_for(session, [promise.id])
            if reply.status == 201:
                reply = _CREATED
        size = weight_of(reply)
        if size > LIGHT_BYTES_MAX:
            self._owe(session.peer, size)
        self._outbox.answer(session.peer, Response(corr, reply))

    def _watch_for(self, session: Session, ids: list[str]) -> None:
        # The session that asked may have ended, or begun anew on the same connection.
        current = self.sessions.peer(session.peer)
        if current is not None:
            self._watches.add(current, ids)

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
        self._watch_for(session, pending)
        return Reply(200, promises=settled)

    def _unwatch(self, session: Session, corr: int, command: PromiseUnwatch, now: int) -> None:
        del now
        self._watches.remove(session, command.ids)
        self._outbox.answer(session.peer, Response(corr, Reply(200)))

    def _report(self, session: Session, corr: int, command: GroupsGet, now: int) -> None:
        del command
        report = groups_report(self.machine, self.dispatcher, self.sessions, self.counters, now)
        self._outbox.answer(session.peer, Response(corr, Reply(200), report))
