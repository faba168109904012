"""What settled is told, and tasks are handed out. A part of the broker's core, and as pure."""

from __future__ import annotations

from typing import Final

import msgspec

from understudy_broker.core.dispatcher import SUSPECT_DEATHS
from understudy_broker.core.quarantine import parks
from understudy_broker.core.requests import RequestHandlers
from understudy_broker.core.sessions import Session
from understudy_broker.protocol.messages import Invoke, Resume, Revoked, Settled, Unblock
from understudy_store.commands import TaskPreload
from understudy_store.machine import Assigned
from understudy_store.records import PromiseRecord, Value

#: a param with more bytes is not sent again to those who wait for the value
_PARAM_BYTES_MAX: Final = 1_024


def _without_large_param(promise: PromiseRecord) -> PromiseRecord:
    data = promise.param.data
    if data is None or len(data) <= _PARAM_BYTES_MAX:
        return promise
    return msgspec.structs.replace(promise, param=Value(promise.param.headers))


class Delivery(RequestHandlers):
    """Settlements, revocations and unblocks to those concerned; tasks to nodes with credit."""

    def _settle(self) -> None:
        """Tell watchers and holders of what settled, and owe what listeners are owed."""
        told: dict[bytes, list[PromiseRecord]] = {}
        for settlement in self.machine.take_settled():
            promise = _without_large_param(settlement.promise)
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
            if not (execute.crash_count and parks(self, execute, now)):
                self.dispatcher.offer(execute, now)
        lease_ttl_ms = self.config.lease_ttl_ms
        refunded = True
        while refunded:
            refunded = False
            self.dispatcher.review(self._has_suspect, now)
            for made in self.dispatcher.assign(now):
                assigned = self.machine.assign(made.id, made.version, made.pid, lease_ttl_ms, now)
                session = self.sessions.holder(made.pid)
                if assigned is None or session is None:
                    self.dispatcher.refund(made.pid)
                    refunded = True
                else:
                    if now - session.beat_at > self.config.beat_ms:
                        self.membership.entrusted(session, now)
                    self._hand_over(session, assigned, made.warm, now)

    def _has_suspect(self, pid: str, task_id: str) -> bool:
        """Whether a node still holds a task that is a suspect yet."""
        task = self.machine.view.task(task_id)
        return task is not None and task.pid == pid and task.deaths >= SUSPECT_DEATHS

    def _hand_over(self, session: Session, assigned: Assigned, warm: bool, now: int) -> None:
        promise, version = assigned.promise, assigned.version
        self.counters.dispatched += 1
        if version == 1:
            self._outbox.add(session.peer, Invoke(promise, 1))
            return
        resume = Resume(promise, version, None, assigned.failures)
        if warm:
            self._outbox.add(session.peer, resume)
        else:
            self._outbox.owe(session.peer, resume, TaskPreload(promise.id, version), now)
