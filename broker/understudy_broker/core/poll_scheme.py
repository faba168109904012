"""Delivery to ``poll://`` addresses: groups, and peers that keep a connection to this broker. Pure.

A task is offered to the dispatcher, which chooses a node with credit; it is then acquired for that
node and pushed to it as `Invoke` or `Resume`. A member is told of it (`Execute`) and acquires it
itself. An unblock is pushed to a connected peer of its
address, when one joins, and again at intervals until it is acknowledged.
"""

from __future__ import annotations

from collections.abc import Collection

from understudy_broker.core.authorization import Authorization
from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.dispatcher import SUSPECT_CRASH_COUNT, Dispatcher
from understudy_broker.core.events import EventLog
from understudy_broker.core.members import Members
from understudy_broker.core.membership import Membership
from understudy_broker.core.metrics import Metrics
from understudy_broker.core.outbox import Outbox
from understudy_broker.core.sessions import Session, Sessions
from understudy_broker.core.unblocks import Unblocks
from understudy_broker.protocol import messages
from understudy_broker.protocol.messages import (
    Ack,
    Attach,
    Detach,
    Invoke,
    Refused,
    Resume,
    Unblock,
)
from understudy_store.commands import TaskPreload
from understudy_store.machine import Assigned, Execute, Machine
from understudy_store.records import PromiseRecord


class PollScheme:
    """The entry for ``poll://`` in the table of `Delivery`."""

    def __init__(
        self,
        machine: Machine,
        dispatcher: Dispatcher,
        sessions: Sessions,
        members: Members,
        membership: Membership,
        outbox: Outbox,
        events: EventLog,
        metrics: Metrics,
        authorization: Authorization,
        config: BrokerConfig,
    ) -> None:
        self._machine = machine
        self._dispatcher = dispatcher
        self._sessions = sessions
        self._members = members
        self._membership = membership
        self._outbox = outbox
        self._events = events
        self._metrics = metrics
        self._authorization = authorization
        self._config = config
        self._unblocks = Unblocks(authorization.hears_of_group)
        self._resend_at = 0

    def start(self, now: int) -> None:
        """Go on from the machine's state after a restart, before any peer has joined."""
        self._resend_at = now + self._config.unblock_retry_ms
        for pid in self._machine.view.peer_pids():
            for id_, _ in self._machine.view.held(pid):
                task = self._machine.view.task(id_)
                if task is not None and task.deaths >= SUSPECT_CRASH_COUNT:
                    self._dispatcher.add_suspect(pid, id_, now)

    # Tasks ---------------------------------------------------------------------------------------

    def offer(self, execute: Execute, now: int) -> None:
        """Queue a pending task for a node with credit."""
        self._dispatcher.offer(execute, now)

    def withdraw(self, task_id: str) -> None:
        """Take a task out of its queue, because it has settled."""
        self._dispatcher.withdraw(task_id)

    def assign(self, now: int) -> None:
        """Hand out all tasks that can be handed out."""
        by_pid, members = self._sessions.by_pid, self._members.by_address
        tally = self._metrics.calls
        if self._members.returned:
            returned, self._members.returned = self._members.returned, []
            for execute in returned:
                self._dispatcher.offer(execute, now)
        refunded = True
        while refunded:
            refunded = False
            if self._dispatcher.suspects:
                self._dispatcher.release_suspects(self._holds_suspect, now)
            for made in self._dispatcher.assign(now):
                if members and made.pid in members:
                    self._offer_to_member(made.pid, made.id, made.version)
                    continue
                assigned = self._machine.assign(
                    made.id, made.version, made.pid, self._config.lease_ttl_ms, now
                )
                session = by_pid.get(made.pid)
                if assigned is None or session is None:
                    self._dispatcher.refund(made.pid)
                    refunded = True
                else:
                    if tally is not None:
                        tally.started(session.group, made.priority, now - made.since)
                    if now - session.beat_at > self._config.beat_ms:
                        self._membership.begin_lease(session, now)
                    self._push(session, assigned, made.warm, now)

    def _holds_suspect(self, pid: str, task_id: str) -> bool:
        """Return whether a node still holds a task that is still a suspect."""
        task = self._machine.view.task(task_id)
        return task is not None and task.pid == pid and task.deaths >= SUSPECT_CRASH_COUNT

    def _push(self, session: Session, assigned: Assigned, warm: bool, now: int) -> None:
        promise, version = assigned.promise, assigned.version
        self._metrics.dispatched += 1
        if version == 1:
            self._outbox.add(session.peer, Invoke(promise, 1))
            return
        resume = Resume(promise, version, None, assigned.failures)
        if warm:
            self._outbox.add(session.peer, resume)
        else:
            read = TaskPreload(promise.id, version)
            self._outbox.add_with_read(session.peer, resume, read, now)

    # Members -------------------------------------------------------------------------------------

    def attach(self, session: Session, message: Attach) -> None:
        """Let an edge carry a member of a group, and send it the unblocks that now go there."""
        text: str | None = "only an edge attaches members to groups"
        status = 400
        if session.kind == "edge":
            group, whose = message.group, message.identity
            text = self._authorization.member_refusal(session, group, whose)
            if text is None:
                text = self._members.attach(session, group, message.name)
            else:
                status = 403
        if text is not None:
            self._outbox.refuse(session.peer, Refused(status, text))
            return
        self._send_owed(session, message.group)

    def detach(self, session: Session, message: Detach) -> None:
        """End a membership; what goes to others from now on goes at once."""
        self._members.detach(session, message.group, message.name)

    def _offer_to_member(self, address: str, id_: str, version: int) -> None:
        member = self._members.offer(address, id_, version)
        if member is not None:
            self._metrics.dispatched += 1
            message = messages.Execute(member.group, member.name, id_, version)
            self._outbox.add(member.sessions[0].peer, message)

    # Unblocks ------------------------------------------------------------------------------------

    def unblock(self, address: str, promise: PromiseRecord) -> None:
        """Owe an unblock, and send it if a peer of the address is connected."""
        self._unblocks.add(address, promise)
        receiver = self._unblocks.route(address, self._sessions, self._members)
        if receiver is not None:
            self._outbox.add(receiver.peer, Unblock(address, promise))

    def acknowledge(self, session: Session, ack: Ack) -> None:
        """Owe an unblock no longer, if a peer says so that it may have gone to."""
        if not self._unblocks.may_go_to(session, ack.address, self._members):
            return
        if self._unblocks.acknowledge(ack.id, ack.address):
            self._machine.acknowledge(ack.id, ack.address)

    def forget(self, slots: Collection[int]) -> None:
        """Owe nothing about promises of these slots; another broker does from now on."""
        self._unblocks.forget(slots)

    def send_owed(self, session: Session) -> None:
        """Send a peer that has just joined the unblocks that now go to it."""
        self._send_owed(session, session.group)

    def _send_owed(self, session: Session, group: str) -> None:
        for receiver, unblock in self._unblocks.for_group(group, self._sessions, self._members):
            if receiver is session:
                self._outbox.add(session.peer, unblock)

    def tick(self, now: int) -> None:
        """Send unacknowledged unblocks again, at intervals, and tell of functions no node has."""
        due_at = self._dispatcher.unserved_due_at
        if due_at is not None and due_at <= now:
            for group, (function, version), waiting in self._dispatcher.take_unserved(now):
                text = "no node of the group has this function: its calls wait for one"
                self._events.add(
                    "warning", text, group=group, function=function, version=version,
                    waiting=waiting,
                )  # fmt: skip
        if now < self._resend_at:
            return
        self._resend_at = now + self._config.unblock_retry_ms
        for group in dict.fromkeys([*self._sessions.groups(), *self._members.groups()]):
            for receiver, unblock in self._unblocks.for_group(group, self._sessions, self._members):
                self._outbox.add(receiver.peer, unblock)

    def next_due(self) -> int | None:
        """Return when `tick` has something to do; None: nothing is owed."""
        due_at = self._dispatcher.unserved_due_at
        if self._unblocks.owed and (due_at is None or self._resend_at < due_at):
            return self._resend_at
        return due_at
