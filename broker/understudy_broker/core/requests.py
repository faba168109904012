"""Request handlers: how the broker's core performs each kind of command, and replies to it. Pure.

Every command goes through `RequestHandlers.perform`, the single entry, which asks whether the peer
may send it. Most commands are those of the store: the machine applies them. The others are the
broker's own: watches, and the report of its groups. A reply leaves after the commit of its batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast, get_args

from understudy_broker.core.authorization import Authorization, stamped, whose
from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.flow_control import (
    LIGHT_BYTES_MAX,
    FlowControl,
    bytes_of,
    reply_bytes,
)
from understudy_broker.core.members import Members
from understudy_broker.core.metrics import Metrics, ParkReason
from understudy_broker.core.outbox import Outbox
from understudy_broker.core.own_slots import OwnSlots
from understudy_broker.core.progress import ProgressBook
from understudy_broker.core.quarantine import Quarantine
from understudy_broker.core.quotas import AGAIN_MS, Quotas
from understudy_broker.core.reply_coalescer import may_be_delayed
from understudy_broker.core.reports import Reports
from understudy_broker.core.search_queue import Search, Searched
from understudy_broker.core.searches import Searches
from understudy_broker.core.sessions import Session, Sessions
from understudy_broker.core.watches import Watches
from understudy_broker.protocol.messages import (
    AnyCommand,
    FunctionsGet,
    GroupsGet,
    OwnCommand,
    PromiseCreateWatched,
    PromiseUnwatch,
    PromiseWatch,
    Refused,
    Request,
    Response,
)
from understudy_broker.protocol.placement import own_command
from understudy_store.addresses import slot_of_address
from understudy_store.commands import (
    PromiseAnnounce,
    PromiseGet,
    PromiseOccur,
    PromiseRegisterListener,
    PromiseSupersede,
    Reply,
    ScheduleCreate,
    TaskAcquire,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskGet,
    TaskHalt,
    TaskHeartbeat,
    TaskPreload,
    TaskRelease,
    TaskSuspend,
)
from understudy_store.limits import KIB
from understudy_store.machine import Machine
from understudy_store.records import PromiseRecord, foreign_name

#: The engine makes a preload after the commit: until then its size is estimated.
_PRELOAD_BYTES: Final = 256 * KIB

#: A 409 to one of these is counted as a stale write.
_FENCED: Final = frozenset({TaskFence, TaskFulfill, TaskSuspend})
#: Only the session that holds the task may send these.
_HELD: Final = _FENCED | {TaskRelease}
#: begins the cause with which a node parks a task whose function it does not have
_UNKNOWN_FUNCTION: Final = "UnknownFunctionError:"
#: Sent instead of the whole record to a peer that has just sent that record itself.
_DONE: Final = Reply(200)
_CREATED: Final = Reply(201)

#: commands that are answered some time after their commit
_SEARCHES: Final = frozenset(get_args(Searched))


class RequestHandlers:
    """One handler for each kind of command."""

    def __init__(
        self,
        machine: Machine,
        dispatcher: Dispatcher,
        sessions: Sessions,
        members: Members,
        outbox: Outbox,
        watches: Watches,
        progress: ProgressBook,
        flow: FlowControl,
        quarantine: Quarantine,
        metrics: Metrics,
        own: OwnSlots,
        searches: Searches,
        authorization: Authorization,
        quotas: Quotas,
        config: BrokerConfig,
    ) -> None:
        self._audit = config.audit
        self._searches = searches
        self._machine = machine
        self._sessions = sessions
        self._outbox = outbox
        self._watches = watches
        self._progress = progress
        self._own = own
        self._flow = flow
        self._quarantine = quarantine
        self._metrics = metrics
        self._config = config
        self._authorization = authorization
        self._has_keys = authorization.is_on
        self._quotas = quotas
        self._reports = reports = Reports(
            machine, dispatcher, sessions, members, searches.pauses, outbox, flow, metrics,
            authorization, quotas,
        )  # fmt: skip
        self._delays_replies = config.reply_delay_ms > 0
        # Any, because each method takes the command of its own row.
        self._handlers: dict[type[Any], Callable[[Session, int, Any, int], None]] = {
            PromiseCreateWatched: self._create_watched,
            PromiseWatch: self._watch,
            PromiseUnwatch: self._unwatch,
            PromiseAnnounce: self._apply_for_broker,
            PromiseOccur: self._apply_for_broker,
            PromiseSupersede: self._apply_for_broker,
            PromiseRegisterListener: self._register_listener,
            FunctionsGet: reports.functions,
            TaskPreload: self._preload,
            TaskCreate: self._apply_for_own_pid,
            TaskAcquire: self._apply_for_own_pid,
            TaskHeartbeat: self._apply_for_own_pid,
            TaskHalt: self._halt,
            TaskGet: self._get_task,
        }

    def perform(self, session: Session, request: Request, now: int) -> None:
        """Perform a request if the peer may ask for it, and reply to it."""
        corr, command = request.corr, request.command
        identity, own = session.identity, own_command(command)
        if own is not command:
            identity = whose(session, command)
        if self._audit is not None:
            text = self._audit.begin(session, identity, corr, own, now)
            if text is not None:
                self._outbox.reply(session.peer, Response(corr, Reply(503, text)))
                return
        if self._own.map is not None and self._own.refuses(session, command):
            text = "the slot is another broker's: ask that one"
            self._outbox.reply(session.peer, Response(corr, Reply(421, text)))
            return
        if self._has_keys and session.kind != "broker":
            if not self._permits(session, identity, corr, command, now):
                return
            if identity is not None:
                made = stamped(own, identity)
                if made is not own:  # It creates something.
                    own = self._quotas.bounded(identity, made)
            if isinstance(own, TaskFence):
                refused = self._authorization.fenced(session, identity, own)
                if refused:
                    self._fence_in_part(session, corr, own, refused, now)
                    return
        if type(own) is GroupsGet:
            self._reports.groups(session, corr, identity, now)
            return
        if type(own) in _SEARCHES:
            searched = cast("Searched", own)
            self._searches.ask(Search(session, corr, searched, now, identity))
            return
        self._handlers.get(type(own), self._apply)(session, corr, own, now)

    def _permits(
        self, session: Session, identity: str | None, corr: int, command: AnyCommand, now: int
    ) -> bool:
        """Reply that an identity lacks a right, or has reached a limit; return whether not."""
        refusal = self._authorization.refusal(session, command)
        if refusal is not None:
            self._outbox.reply(session.peer, Response(corr, Reply(403, refusal)))
            return False
        full = self._quota_refusal(identity, own_command(command))
        if full is not None:
            self._metrics.count_limited(_rule_of(own_command(command)))
            self._quotas.note_refused(identity, full, now)
            self._refuse_full(session, corr, own_command(command), full)
        return full is None

    def _quota_refusal(self, identity: str | None, command: OwnCommand) -> str | None:
        if isinstance(command, PromiseWatch | PromiseCreateWatched):
            more = len(command.ids) if isinstance(command, PromiseWatch) else 1
            full = self._quotas.watch_refusal(identity, self._sessions.watched_by, more)
            if full is not None or isinstance(command, PromiseWatch):
                return full
        return self._quotas.refusal(identity, command)

    def _refuse_full(self, session: Session, corr: int, command: OwnCommand, text: str) -> None:
        """Refuse a command for now.

        What follows on a fence supposes that it was performed, so its sender may not just wait: it
        gives the task back.
        """
        if isinstance(command, TaskFence):
            self._outbox.reply(session.peer, Response(corr, Reply(429, text)))
            return
        if self._audit is not None:
            self._audit.replied(session.peer, corr, Reply(429, text))
        session.inflight = max(0, session.inflight - 1)
        self._outbox.refuse(session.peer, Refused(429, text, corr=corr, retry_after_ms=AGAIN_MS))

    # Commands of the store -----------------------------------------------------------------------

    def _apply(self, session: Session, corr: int, command: Any, now: int) -> None:
        kind = type(command)
        if kind in _HELD and self._is_anothers(session, command):
            self._outbox.reply(session.peer, Response(corr, _held_by_another(command.id)))
            return
        reply = self._machine.apply(command, now)
        if kind in _FENCED:
            if kind is TaskFence:
                self._metrics.commands += len(command.commands)
            elif kind is TaskFulfill and reply.ok:
                reply = _DONE
            if reply.status == 409:
                self._metrics.stale_writes += 1
                self._metrics.count_attempts(session.group, "fenced")
        elif kind is TaskRelease and reply.ok:
            self._metrics.count_attempts(session.group, "raised" if command.failed else "released")
        delayed = self._delays_replies and may_be_delayed(session, command, reply)
        self._reply(session, corr, reply, may_be_delayed=delayed)

    def _fence_in_part(
        self, session: Session, corr: int, fence: TaskFence, refused: dict[int, str], now: int
    ) -> None:
        """Perform the commands of a fence but for some, of which the function hears."""
        kept = tuple(each for n, each in enumerate(fence.commands) if n not in refused)
        if self._is_anothers(session, fence):
            reply = _held_by_another(fence.id)
        else:
            reply = self._machine.apply(TaskFence(fence.id, fence.version, kept, fence.full), now)
        if reply.ok:
            replies = iter(reply.replies or [None] * len(kept))
            reply.replies = [
                Reply(403, refused[n]) if n in refused else next(replies)
                for n in range(len(fence.commands))
            ]
        self._reply(session, corr, reply)

    def _is_anothers(self, session: Session, command: Any) -> bool:
        """Return whether another peer holds (id, version), so this one may not write to it."""
        if not self._authorization.may_know(session, command.id):
            return True  # The answer is the same whether there is such a task or not.
        pid = self._machine.view.holder(command.id, command.version)
        if pid is None or pid == session.pid:
            return False
        # An edge writes for clients of other protocols, which are no peers.
        return session.kind != "edge" or foreign_name(pid) is None

    def _apply_for_broker(self, session: Session, corr: int, command: Any, now: int) -> None:
        """Apply a command of brokers among themselves."""
        if session.kind == "broker":
            self._apply(session, corr, command, now)
        else:
            text = "only a broker of this deployment may send this command"
            self._outbox.reply(session.peer, Response(corr, Reply(403, text)))

    def _register_listener(
        self, session: Session, corr: int, command: PromiseRegisterListener, now: int
    ) -> None:
        if slot_of_address(command.address) is None:
            self._apply(session, corr, command, now)
        else:
            self._apply_for_broker(session, corr, command, now)

    def _halt(self, session: Session, corr: int, command: TaskHalt, now: int) -> None:
        """Halt a task; if its holder asks for it, the task is parked."""
        if command.version and self._is_anothers(session, command):
            self._outbox.reply(session.peer, Response(corr, _held_by_another(command.id)))
            return
        reply = self._machine.apply(command, now)
        if reply.ok and command.version and reply.task is not None:
            is_unknown = command.cause.startswith(_UNKNOWN_FUNCTION)
            reason: ParkReason = "unknown" if is_unknown else "mismatch"
            self._quarantine.note_parked(reply.task, command.cause, reason)
        self._reply(session, corr, reply)

    def _get_task(self, session: Session, corr: int, command: TaskGet, now: int) -> None:
        """Reply with a task, and with how far its functions are."""
        reply = self._machine.apply(command, now)
        if reply.task is not None and self._progress:
            reply.progress = self._progress.of(reply.task)
        self._reply(session, corr, reply)

    def _reply(
        self, session: Session, corr: int, reply: Reply, *, may_be_delayed: bool = False
    ) -> None:
        """Reply, and count the reply against the peer's budget if it is large."""
        if reply.promise is not None or reply.promises or reply.replies:
            size = reply_bytes(reply)
            if size > LIGHT_BYTES_MAX:
                self._flow.owe(session.peer, size)
        self._outbox.reply(session.peer, Response(corr, reply), may_be_delayed=may_be_delayed)

    def _apply_for_own_pid(self, session: Session, corr: int, command: Any, now: int) -> None:
        """Apply a command that takes or renews leases: a peer may do so in its own name only.

        A session that has ended takes none. Its process may have joined again meanwhile, and said
        in its hello what it holds: a lease that it takes after that would be renewed by its
        heartbeats, for a task that it knows nothing of. It asks again on its new connection.

        An edge asks for clients of other protocols, which are no peers: in their names only.
        """
        if session.kind == "edge":
            self._apply_for_foreign_pid(session, corr, command, now)
        elif command.pid != session.pid:
            text = f"pid {command.pid!r} is not this connection's, which is {session.pid!r}"
            self._outbox.reply(session.peer, Response(corr, Reply(400, text)))
        elif self._sessions.by_pid.get(session.pid) is not session:
            text = "the session of this request has ended: ask again in the new one"
            self._outbox.reply(session.peer, Response(corr, Reply(409, text)))
        else:
            self._apply(session, corr, command, now)

    def _apply_for_foreign_pid(self, session: Session, corr: int, command: Any, now: int) -> None:
        if foreign_name(command.pid) is None:
            text = f"pid {command.pid!r} is a peer's, and this session is an edge's"
            self._outbox.reply(session.peer, Response(corr, Reply(400, text)))
        else:
            self._apply(session, corr, command, now)

    def _preload(self, session: Session, corr: int, command: TaskPreload, now: int) -> None:
        """Let the machine check a preload; the engine answers it with the commit."""
        if self._is_anothers(session, command):
            self._outbox.reply(session.peer, Response(corr, _held_by_another(command.id)))
            return
        reply = self._machine.apply(command, now)
        if reply.ok:
            self._flow.owe(session.peer, _PRELOAD_BYTES)
            self._outbox.add_with_read(session.peer, Response(corr, reply), command, now)
        else:
            self._outbox.reply(session.peer, Response(corr, reply))

    # Watches -------------------------------------------------------------------------------------

    def _create_watched(
        self, session: Session, corr: int, command: PromiseCreateWatched, now: int
    ) -> None:
        if len(session.watches) >= self._config.watches_max:
            self._outbox.reply(session.peer, Response(corr, _too_many(self._config.watches_max)))
            return
        reply = self._machine.apply(command.create, now)
        promise = reply.promise
        if reply.ok and promise is not None and not promise.settled:
            self._add_watches(session, [promise.id])
            if reply.status == 201:
                reply = _CREATED
        self._reply(session, corr, reply)

    def _watch(self, session: Session, corr: int, command: PromiseWatch, now: int) -> None:
        self._outbox.reply(session.peer, Response(corr, self._watch_all(session, command, now)))

    def _watch_all(self, session: Session, command: PromiseWatch, now: int) -> Reply:
        limits = self._config.limits
        if len(command.ids) > limits.batch_max:
            return Reply(400, f"{len(command.ids)} ids; at most {limits.batch_max} in one watch")
        if len(session.watches) + len(command.ids) > self._config.watches_max:
            return _too_many(self._config.watches_max)
        settled: list[PromiseRecord] = []
        pending: list[str] = []
        for id_ in command.ids:
            reply = self._machine.apply(PromiseGet(id_), now)
            if reply.promise is None:
                return Reply(reply.status, reply.error)
            if reply.promise.settled:
                settled.append(reply.promise)
            else:
                pending.append(id_)
        size = bytes_of(settled)
        if size > self._flow.budget.bytes_max and len(command.ids) > 1:
            text = f"the settled ones of these promises have {size} bytes: watch fewer at a time"
            return Reply(413, text)
        if size > LIGHT_BYTES_MAX:
            self._flow.owe(session.peer, size)
        self._add_watches(session, pending)
        return Reply(200, promises=settled)

    def _add_watches(self, session: Session, ids: list[str]) -> None:
        # The session of the request may have ended, or have been replaced on the same connection.
        current = self._sessions.by_peer.get(session.peer)
        if current is not None:
            self._watches.add(current, ids)

    def _unwatch(self, session: Session, corr: int, command: PromiseUnwatch, _now: int) -> None:
        self._watches.remove(session, command.ids)
        self._outbox.reply(session.peer, Response(corr, Reply(200)))


def _rule_of(command: OwnCommand) -> str:
    """Return the kind of limit that a command may reach."""
    if isinstance(command, PromiseWatch):
        return "watches"
    return "schedules" if isinstance(command, ScheduleCreate) else "promises"


def _too_many(watches_max: int) -> Reply:
    return Reply(429, f"more than {watches_max} promises watched")


def _held_by_another(id_: str) -> Reply:
    return Reply(403, f"task {id_!r} is held by another session than this one")
