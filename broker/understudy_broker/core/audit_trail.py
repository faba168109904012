"""`AuditTrail`: what the broker's core and its shell have to audit, until it is written. Pure.

The core notes who joins and who is refused, and how each command has ended that changes something
from outside a task. Records wait here, up to a bound, for `server.audit`, which writes them. If
they cannot be written, what has to be audited is refused (`blocked`), unless the audit is not
required: then lost records are counted, and a line says how many as soon as there can be one.

Records have names, ids and reasons. They never have arguments, results, tags or headers.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from understudy_broker.audit.chain import Record
from understudy_broker.audit.repeats import Kind, Repeats
from understudy_broker.protocol.messages import AnyCommand, GroupPause, Hello, PeerKind, Refused
from understudy_store.commands import (
    PromiseCancel,
    PromisePurge,
    PromiseSettle,
    Reply,
    ScheduleCreate,
    ScheduleDelete,
    SchedulePause,
    SchedulePut,
    ScheduleResume,
    ScheduleTrigger,
    ScheduleUpdate,
    TaskContinue,
    TaskHalt,
    TaskRetry,
)

#: records that wait to be written
RECORDS_MAX: Final = 10_000
#: records of one kind and one identity that are written within a minute; the rest is counted
JOINS_MAX: Final = 1_000
REFUSALS_MAX: Final = 20
STRANGERS_MAX: Final = 100
TOO_MANY_MAX: Final = 1
#: Commands that are audited, whoever sends them and however they end. What a function does to
#: promises comes in fences, and is the function's own.
AUDITED: Final = frozenset(
    {
        PromiseSettle,
        PromiseCancel,
        ScheduleCreate,
        SchedulePut,
        ScheduleUpdate,
        SchedulePause,
        ScheduleResume,
        ScheduleTrigger,
        ScheduleDelete,
        TaskHalt,
        TaskContinue,
        TaskRetry,
        GroupPause,
        PromisePurge,
    }
)
_FORBIDDEN: Final = 403
_TOO_MANY: Final = 429


class Peer(Protocol):
    """A connected peer, as the audit tells of it; `core.sessions.Session` is one.

    Only `identity` is proven, by the peer's key; it is None if the broker asks for no keys.
    """

    @property
    def peer(self) -> bytes: ...
    @property
    def identity(self) -> str | None: ...
    @property
    def kind(self) -> PeerKind: ...
    @property
    def group(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def pid(self) -> str: ...


class _Asked(NamedTuple):
    """The command that is being performed."""

    session: Peer
    identity: str | None
    corr: int
    command: AnyCommand
    now: int


class AuditTrail:
    """Records that wait to be written.

    Parameters
    ----------
    is_required
        Refuse what cannot be audited.

    Attributes
    ----------
    failure
        Why records cannot be written now; None: they can. Set by whoever writes them.
    """

    def __init__(self, *, is_required: bool = True) -> None:
        self._is_required = is_required
        self._records: list[Record] = []
        self._repeats = Repeats()
        self._lost = 0
        self._asked: _Asked | None = None
        self.failure: str | None = None

    @property
    def has_records(self) -> bool:
        """True if `take` returns some."""
        return bool(self._records)

    def due_at(self) -> int | None:
        """Return when `tick` has something to do, epoch milliseconds; None: never."""
        return self._repeats.due_at

    @property
    def blocked(self) -> str | None:
        """Why nothing that has to be audited may be done now, in words; None: it may."""
        if not self._is_required:
            return None
        if self.failure is not None:
            return f"the broker cannot write its audit, so it does not do this now: {self.failure}"
        if len(self._records) >= RECORDS_MAX:
            return "the broker's audit is not written as fast as this would need: try again"
        return None

    def add(self, now: int, what: str, **details: object) -> None:
        """Note something, or count it as lost if too much waits.

        Details that are None are left out. `now` is in epoch milliseconds.
        """
        if len(self._records) >= RECORDS_MAX:
            self._lost += 1
            return
        if self._lost:
            self._records.append(Record(now, "lost", {"count": self._lost}))
            self._lost = 0
        given = {name: value for name, value in details.items() if value is not None}
        self._records.append(Record(now, what, given))

    def add_some(self, now: int, what: str, who: str, most: int, **details: object) -> None:
        """Note something that may be repeated at will: `most` times in a minute."""
        if self._repeats.takes(Kind(what, who), most, now):
            self.add(now, what, **details)

    def take(self) -> list[Record]:
        """Return the records since the last call."""
        records, self._records = self._records, []
        return records

    def tick(self, now: int, *, all_of_them: bool = False) -> None:
        """Note how many records were left out, in minutes that are over, or in all of them."""
        for kind, count in self._repeats.take(now, all_of_them=all_of_them):
            self.add(now, "repeated", of=kind.what, who=kind.who, count=count)

    # Peers ---------------------------------------------------------------------------------------

    def joined(self, session: Peer, address: str | None, now: int) -> None:
        """Note that a peer was taken in."""
        who = session.identity or session.name
        details = _peer(session.identity, session.name, session.group, session.kind)
        self.add_some(now, "joined", who, JOINS_MAX, **details, pid=session.pid, address=address)

    def not_joined(
        self, hello: Hello, identity: str | None, address: str | None, refused: Refused, now: int
    ) -> None:
        """Note that a hello was refused."""
        who = identity or hello.name
        most = TOO_MANY_MAX if refused.status == _TOO_MANY else REFUSALS_MAX
        details = _peer(identity, hello.name, hello.group, hello.kind)
        reason = {"status": refused.status, "why": refused.error}
        self.add_some(now, "hello refused", who, most, **details, address=address, **reason)

    def stranger(self, why: str, address: str, key: str | None, now: int) -> None:
        """Note that a connection was refused before it brought anything."""
        details = {"address": address or None, "key": key, "why": why}
        self.add_some(now, "connection refused", "strangers", STRANGERS_MAX, **details)

    def too_many(self, session: Peer, identity: str | None, refused: Refused, now: int) -> None:
        """Note that a peer has sent more than it may."""
        who, details = _asker(session, identity)
        reason = {"status": refused.status, "why": refused.error}
        self.add_some(now, "too many requests", who, TOO_MANY_MAX, **details, **reason)

    # Commands ------------------------------------------------------------------------------------

    def begin(
        self, session: Peer, identity: str | None, corr: int, command: AnyCommand, now: int
    ) -> str | None:
        """Note which command is performed next; return why it must not be, if so.

        Parameters
        ----------
        identity
            For whom it is asked, as the peer says; None: the broker does not know.
        """
        self._asked = None
        if session.kind == "broker":
            return None
        if _is_audited(command) and self.blocked is not None:
            return self.blocked
        self._asked = _Asked(session, identity, corr, command, now)
        return None

    def replied(self, peer: bytes, corr: int, reply: Reply) -> None:
        """Note how the command has ended, if that is to be audited."""
        asked = self._asked
        if asked is None or asked.corr != corr or asked.session.peer != peer:
            return
        self._asked = None
        self._note(asked, reply)

    def postpone(self) -> None:
        """Note that the command that is performed ends later; `ended` is called then."""
        self._asked = None

    def ended(
        self, session: Peer, identity: str | None, command: AnyCommand, reply: Reply, now: int
    ) -> None:
        """Note how a command has ended that was performed in an earlier step."""
        self._note(_Asked(session, identity, 0, command, now), reply)

    def _note(self, asked: _Asked, reply: Reply) -> None:
        command, session = asked.command, asked.session
        who, peer_details = _asker(session, asked.identity)
        details = {
            **peer_details,
            **_command(command),
            "status": reply.status,
            "why": None if reply.ok else reply.error,
            "purged": None if reply.purged is None else sum(each.promises for each in reply.purged),
        }
        if reply.status == _FORBIDDEN:
            self.add_some(asked.now, "refused", who, REFUSALS_MAX, **details)
        elif reply.status == _TOO_MANY:
            self.add_some(asked.now, "too many requests", who, TOO_MANY_MAX, **details)
        elif _is_audited(command):
            self.add(asked.now, "command", **details)


def _is_audited(command: AnyCommand) -> bool:
    if type(command) not in AUDITED:
        return False
    # The holder of a task parks it, which is no command from outside.
    if isinstance(command, TaskHalt):
        return not command.version
    return not (isinstance(command, PromisePurge) and command.dry_run)


def _asker(session: Peer, identity: str | None) -> tuple[str, dict[str, object]]:
    """Return whose refusals are counted together, and the details of who has asked for whom.

    Anybody may say that they ask for somebody else. Only an edge has the right to, so others cannot
    hide what is refused to that one, by using up its lines.
    """
    details = _peer(session.identity, session.name, session.group, session.kind)
    who = session.identity or session.name
    if identity is None or identity == session.identity:
        return who, details
    details["for"] = identity
    return (f"{identity} by {who}" if session.kind == "edge" else who), details


def _peer(identity: str | None, name: str, group: str, kind: str) -> dict[str, object]:
    return {"identity": identity, "name": name, "group": group, "kind": kind}


def _command(command: AnyCommand) -> dict[str, object]:
    details: dict[str, object] = {"command": command.__struct_config__.tag}
    for name in ("id", "state", "version", "prefix"):
        value = getattr(command, name, None)
        if value is not None and value != "":
            details[name] = value
    if isinstance(command, GroupPause):
        details |= {"id": command.group, "function": command.function or None}
        details["paused"] = command.paused
    create = getattr(command, "create", None)
    if create is not None:
        details["id"] = create.id
    return details
