"""Authorization: which right each command needs. Pure.

`Authorization.refusal` has one row for each command; a command without a row does not type-check.
`RequestHandlers.perform` asks it before it performs anything, and nothing else does. What an
identity may do comes from ``rights.toml`` (`keys.grants`) and may change at any time. A broker that
asks for no keys knows nobody's identity and permits everything to everyone.

Beside what its roles say, an identity may read, watch and cancel what it has created itself, and
what is below a task that it holds: the calls of a function belong to the function. So rights by id
do not end where one team's function calls another's.

A refusal says which right is missing and is the same whether the id exists or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeAlias, TypeVar, assert_never

import msgspec

from understudy_broker.keys.grants import NOTHING, Grant, Names
from understudy_broker.keys.rights import BROKERS
from understudy_broker.protocol.messages import (
    AnyCommand,
    Delegated,
    FunctionsGet,
    GroupPause,
    GroupsGet,
    OwnCommand,
    PeerKind,
    PromiseCreateWatched,
    PromiseUnwatch,
    PromiseWatch,
)
from understudy_store.addresses import InvalidAddressError, group_of
from understudy_store.commands import (
    CallSearch,
    PromiseAnnounce,
    PromiseCancel,
    PromiseCreate,
    PromiseGet,
    PromiseOccur,
    PromisePurge,
    PromiseRegisterCallback,
    PromiseRegisterListener,
    PromiseSearch,
    PromiseSettle,
    PromiseSupersede,
    ScheduleCreate,
    ScheduleDelete,
    ScheduleGet,
    ScheduleNext,
    SchedulePause,
    SchedulePut,
    ScheduleResume,
    ScheduleSearch,
    ScheduleTrigger,
    ScheduleUpdate,
    StatsGet,
    TaskAcquire,
    TaskAttempts,
    TaskContinue,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskGet,
    TaskHalt,
    TaskHeartbeat,
    TaskPreload,
    TaskRelease,
    TaskRetry,
    TaskSearch,
    TaskSuspend,
)
from understudy_store.machine import MachineView
from understudy_store.records import (
    TAG_BRANCH,
    TAG_IDENTITY,
    TAG_ORIGIN,
    TAG_PARENT,
    TAG_TARGET,
    origin_of,
)

_C = TypeVar("_C", PromiseCreate, TaskCreate)
#: Returns what an identity may do now; None: there is no such identity.
GrantOf: TypeAlias = Callable[[str], Grant | None]
#: the tags by which a promise belongs to others
_GRAPH_TAGS: Final = (TAG_BRANCH, TAG_ORIGIN, TAG_PARENT)
#: the longest id in a refusal
_ID_CHARS: Final = 80


class Asker(Protocol):
    """A peer as `Authorization` sees it; `core.sessions.Session` is one.

    Only `identity` is proven, by the peer's key; it is None if the broker asks for no keys.
    """

    @property
    def kind(self) -> PeerKind: ...
    @property
    def group(self) -> str: ...
    @property
    def pid(self) -> str: ...
    @property
    def identity(self) -> str | None: ...


class Authorization:
    """Decides what peers may do.

    Parameters
    ----------
    grant_of
        What each identity may do; None: the broker asks for no keys, and permits everything.
    view
        Of the machine: who holds and has created what.
    is_here
        Returns whether what has an id is stored by this broker.
    """

    def __init__(
        self,
        grant_of: GrantOf | None,
        view: MachineView,
        is_here: Callable[[str], bool] = lambda _id: True,
    ) -> None:
        self._grant_of = grant_of
        self._view = view
        self._is_here = is_here
        #: the command that is decided about now
        self._case = _Case(view, is_here)

    @property
    def is_on(self) -> bool:
        """True if the broker knows who its peers are."""
        return self._grant_of is not None

    def grant(self, identity: str | None) -> Grant:
        """Return what an identity may do now."""
        found = None
        if identity is not None and self._grant_of is not None:
            found = self._grant_of(identity)
        return NOTHING if found is None else found

    # Joining -------------------------------------------------------------------------------------

    def join_refusal(self, kind: PeerKind, group: str, identity: str | None) -> str | None:
        """Return why a peer may not join; None if it may."""
        if self._grant_of is None or kind == "client":
            return None
        grant = self.grant(identity)
        if kind == "node":
            return None if grant.serve.has(group) else _lacks(identity, "serve", group)
        if kind == "edge":
            return None if grant.edge else _lacks(identity, "edge", "NAME")
        return None if identity == BROKERS else f"{identity!r} is no broker of this deployment"

    def member_refusal(self, session: Asker, group: str, identity: str | None) -> str | None:
        """Return why an edge may not listen at a group for an identity; None if it may."""
        if self._grant_of is None:
            return None
        if identity is None:
            identity = session.identity
        elif (text := self._delegation_refusal(session, identity)) is not None:
            return text
        return None if self.grant(identity).serve.has(group) else _lacks(identity, "serve", group)

    def hears_of_group(self, session: Asker) -> bool:
        """Return whether a peer is told what is owed to its group: a client may name any group."""
        return self._grant_of is None or self.grant(session.identity).serve.has(session.group)

    def may_hold(self, identity: str | None, id_: str) -> bool:
        """Return whether an identity may have the task of an id; of no id it may."""
        if self._grant_of is None:
            return True
        serve, record = self.grant(identity).serve, self._view.record(id_)
        target = None if record is None else record.tags.get(TAG_TARGET)
        return serve.has_all("") if target is None else serve.has(group_of(target))

    def claims_of(
        self, identity: str | None, claims: Iterable[tuple[str, int]]
    ) -> tuple[tuple[str, int], ...]:
        """Return those of (id, version) that an identity may have, here or at other brokers."""
        return tuple(
            each
            for each in claims
            if not self._is_here(each[0]) or self.may_hold(identity, each[0])
        )

    def may_know(self, session: Asker, id_: str) -> bool:
        """Return whether a peer may learn from an answer whether it has had the task of an id."""
        if self._grant_of is None or session.kind == "broker":
            return True
        if session.kind == "edge":
            return True  # The row of the command has decided for the edge's client.
        task = self._view.task(id_)
        if task is not None and task.pid == session.pid:
            return True
        grant = self.grant(session.identity)
        return grant.ids.has(id_) or self.may_hold(session.identity, id_)

    def shows_group(self, identity: str | None, group: str) -> bool:
        """Return whether an identity may know of a group."""
        grant = self.grant(identity)
        return "groups" in grant.admin or grant.serve.has(group) or grant.call.has(group)

    # Commands ------------------------------------------------------------------------------------

    def refusal(self, session: Asker, command: AnyCommand) -> str | None:
        """Return why a peer may not ask for a command, in words; None if it may."""
        grant_of = self._grant_of
        if grant_of is None or session.kind == "broker":
            # A broker has joined as one because it has the brokers' key, or nobody has keys.
            return None
        identity = session.identity
        if isinstance(command, Delegated):
            text = self._delegation_refusal(session, command.identity)
            if text is not None:
                return text
            identity, command = command.identity, command.command
        grant = NOTHING if identity is None else grant_of(identity) or NOTHING
        case = self._case
        case.session, case.identity, case.grant = session, identity, grant
        return self._row(case, command)

    def fenced(self, session: Asker, identity: str | None, fence: TaskFence) -> dict[int, str]:
        """Return the places of the commands in a fence that may not be performed, each with why."""
        case = self._case
        case.session, case.identity, case.grant = session, identity, self.grant(identity)
        return case.fenced(fence.id, fence.commands)

    def _delegation_refusal(self, session: Asker, identity: str) -> str | None:
        if session.kind != "edge":
            return "only an edge may ask for somebody else"
        if not self.grant(session.identity).edge.has(identity):
            return _lacks(session.identity, "edge", identity)
        assert self._grant_of is not None
        if identity == BROKERS or self._grant_of(identity) is None:
            return f"there is no identity {identity!r} in the rights of the broker"
        return None

    def _row(self, case: _Case, command: OwnCommand) -> str | None:
        """Decide by the row of a command. What is sent most often stands first."""
        match command:
            case PromiseCreateWatched(create=create):
                return case.create(create)
            case (
                TaskFence(id=id_) | TaskFulfill(id=id_) | TaskRelease(id=id_) | TaskPreload(id=id_)
            ):
                return case.held(id_)  # What is in a fence, `fenced` decides.
            case TaskSuspend(id=id_, awaited=awaited):
                return case.held(id_) or case.awaited(awaited, f"{id_}.")
            case PromiseGet(id=id_) | TaskGet(id=id_) | TaskAttempts(id=id_):
                return case.read((id_,))
            case PromiseWatch(ids=ids):
                return case.read(ids)
            case PromiseCreate() | TaskCreate():
                return case.create(command)
            case PromiseUnwatch() | TaskHeartbeat():
                return None  # They concern the peer's own.
            case TaskAcquire(id=id_):
                return case.serve(id_)
            case PromiseSettle(id=id_):
                return case.settle(id_)
            case PromiseCancel(id=id_):
                return case.cancel(id_)
            case PromiseRegisterCallback(awaited=awaited_id, awaiter=awaiter):
                return case.read((awaited_id, awaiter))
            case PromiseRegisterListener(awaited=awaited_id, address=address):
                return case.read((awaited_id,)) or case.call(address)
            case StatsGet():
                return case.admin("groups")
            case PromisePurge():
                return case.admin("purge")
            case CallSearch(prefix=prefix):
                return case.search(prefix, None)
            case PromiseSearch(prefix=prefix, origin=origin):
                return case.search(prefix, origin)
            case TaskSearch(group=group):
                return case.search_tasks(group)
            case TaskHalt(id=id_, version=version):
                return case.held(id_) if version else case.admin("halt")
            case TaskContinue():
                return case.admin("continue")
            case TaskRetry():
                return case.admin("retry")
            case ScheduleCreate() | SchedulePut():
                return case.create_schedule(command)
            case (
                ScheduleGet(id=id_)
                | ScheduleNext(id=id_)
                | SchedulePause(id=id_)
                | ScheduleDelete(id=id_)
            ):
                return case.among("schedule", id_)
            case ScheduleUpdate(id=id_) | ScheduleResume(id=id_) | ScheduleTrigger(id=id_):
                return case.run_schedule(id_)
            case ScheduleSearch(prefix=prefix):
                return case.all_among("schedule", prefix)
            case GroupsGet():
                return None  # The report has only those that the identity serves or calls.
            case GroupPause():
                return case.admin("pause")
            case FunctionsGet(group=group):
                return case.functions(group)
            case PromiseAnnounce() | PromiseOccur() | PromiseSupersede():
                return "only a broker of this deployment may send this command"
            case _:
                assert_never(command)


class _Case:
    """One command of one asker: each method is a question that rows ask.

    One object serves for all commands, one after the other: to make one takes a quarter of a
    decision's time.

    Attributes
    ----------
    session, identity, grant
        Who asks, for whom, and what that one may do. Set for each command.
    """

    __slots__ = ("_is_here", "_view", "grant", "identity", "session")

    session: Asker
    identity: str | None
    grant: Grant

    def __init__(self, view: MachineView, is_here: Callable[[str], bool]) -> None:
        self._view = view
        self._is_here = is_here

    def create(self, create: PromiseCreate | TaskCreate) -> str | None:
        id_, tags = create.id, create.tags
        if not self.grant.ids.has(id_) and not self._holds_above(id_):
            return self._lacks("ids", id_)
        # A call graph takes in nothing from strangers. What a function creates at another broker
        # than its own names a task that is not here.
        branch = tags.get(TAG_BRANCH)
        is_far = self.session.kind == "node" and branch is not None and not self._is_here(branch)
        for tag in _GRAPH_TAGS:
            place = tags.get(tag)
            if place is not None and not (
                is_far or self.grant.ids.has(place) or self._holds_above(place)
            ):
                return self._lacks("ids", place)
        return self.call(tags.get(TAG_TARGET))

    def fenced(self, id_: str, commands: Iterable[PromiseCreate | PromiseSettle]) -> dict[int, str]:
        """Decide about what a function does: to what is below its own task it has every right."""
        below = f"{id_}."
        record = self._view.record(id_)
        places = (id_, id_ if record is None else origin_of(record))
        refused: dict[int, str] = {}
        for place, command in enumerate(commands):
            is_own = command.id.startswith(below)
            if isinstance(command, PromiseSettle):
                text = None if is_own else self.settle(command.id)
            elif is_own or self.grant.ids.has(command.id):
                text = self._graph(command.tags, places, below)
                text = text or self.call(command.tags.get(TAG_TARGET))
            else:
                text = self._lacks("ids", command.id)
            if text is not None:
                refused[place] = text
        return refused

    def _graph(self, tags: dict[str, str], places: tuple[str, str], below: str) -> str | None:
        for tag in _GRAPH_TAGS:
            place = tags.get(tag)
            if place is None or place in places or place.startswith(below):
                continue
            if not self.grant.ids.has(place):
                return self._lacks("ids", place)
        return None

    def read(self, ids: Iterable[str]) -> str | None:
        for id_ in ids:
            if not self.grant.ids.has(id_) and not self._is_own(id_):
                return self._lacks("ids", id_)
        return None

    def awaited(self, ids: Iterable[str], below: str) -> str | None:
        """Decide about what a function waits for, which is mostly below its own task."""
        for id_ in ids:
            if not (id_.startswith(below) or self.grant.ids.has(id_) or self._is_own(id_)):
                return self._lacks("ids", id_)
        return None

    def settle(self, id_: str) -> str | None:
        if not self.grant.settle.has(id_) and not self._holds_above(id_):
            return self._lacks("settle", id_)
        task = self._view.task(id_)
        if task is not None and task.pid is not None and task.pid != self.session.pid:
            return f"a node performs the call {_short(id_)}: only that node may settle it"
        return None

    def cancel(self, id_: str) -> str | None:
        if self.grant.cancel.has(id_) or self._is_own(id_):
            return None
        return self._lacks("cancel", id_)

    def serve(self, id_: str) -> str | None:
        record = self._view.record(id_)
        if record is not None and (target := record.tags.get(TAG_TARGET)) is not None:
            group = group_of(target)
            if self.grant.serve.has(group):
                return None
            if self.grant.ids.has(id_):
                return self._lacks("serve", group)
        # Whoever may not read the id learns neither whether it exists nor its group.
        return None if self.grant.serve.has_all("") else self._lacks("serve", "the group of the id")

    def held(self, id_: str) -> str | None:
        """Decide about a command of a task's holder, which the handlers check.

        An edge holds tasks for clients that are no peers, so it is asked whether they could.
        """
        return self.serve(id_) if self.session.kind == "edge" else None

    def search(self, prefix: str, origin: str | None) -> str | None:
        if self.grant.search.has_all(prefix):
            return None
        if origin is not None and (self.grant.search.has(origin) or self._is_own(origin)):
            return None
        return self._lacks("search", prefix)

    def search_tasks(self, group: str | None) -> str | None:
        if "tasks" in self.grant.admin or (group is not None and self.grant.serve.has(group)):
            return None
        return self._lacks("admin", "tasks")

    def admin(self, name: str) -> str | None:
        return None if name in self.grant.admin else self._lacks("admin", name)

    def create_schedule(self, create: ScheduleCreate | SchedulePut) -> str | None:
        # What the template puts in the place of a date comes after its fixed beginning.
        beginning = create.promise_id.replace("{id}", create.id).partition("{")[0]
        text = self.among("schedule", create.id)
        if text is None and not self.grant.ids.has(beginning):
            text = self._lacks("ids", beginning)
        for tag in _GRAPH_TAGS:
            place = create.promise_tags.get(tag)
            if text is None and place is not None and not self.grant.ids.has(place):
                text = self._lacks("ids", place)
        return text or self.call(create.promise_tags.get(TAG_TARGET))

    def run_schedule(self, id_: str) -> str | None:
        # It makes calls that others may have set up, so their group counts as well.
        text, schedule = self.among("schedule", id_), self._view.schedule(id_)
        if text is None and schedule is not None:
            text = self.call(schedule.promise_tags.get(TAG_TARGET))
        return text

    def functions(self, group: str) -> str | None:
        if self.grant.call.has(group) or self.grant.serve.has(group):
            return None
        return self._lacks("call", group)

    def among(self, right: str, id_: str) -> str | None:
        names: Names = getattr(self.grant, right)
        return None if names.has(id_) else self._lacks(right, id_)

    def all_among(self, right: str, prefix: str) -> str | None:
        names: Names = getattr(self.grant, right)
        return None if names.has_all(prefix) else self._lacks(right, prefix)

    def call(self, address: str | None) -> str | None:
        if address is None:
            return None
        try:
            group = group_of(address)
        except InvalidAddressError:
            return None  # The machine refuses it, and says why.
        return None if self.grant.call.has(group) else self._lacks("call", group)

    def _is_own(self, id_: str) -> bool:
        """Return whether the asker has created a promise, or holds a task above it."""
        record = self._view.record(id_)
        if record is not None and record.tags.get(TAG_IDENTITY) == self.identity:
            return True
        return self._holds_above(id_)

    def _holds_above(self, id_: str) -> bool:
        """Return whether the asker holds the task of a promise, or one that is above it."""
        while id_:
            task = self._view.task(id_)
            if task is not None and task.pid is not None and task.pid == self.session.pid:
                return True
            id_ = id_.rpartition(".")[0]
        return False

    def _lacks(self, right: str, name: str) -> str:
        return _lacks(self.identity, right, name)


def whose(session: Asker, command: AnyCommand) -> str | None:
    """Return the identity that a command is asked for."""
    return command.identity if isinstance(command, Delegated) else session.identity


def stamped(command: OwnCommand, identity: str) -> OwnCommand:
    """Return a command in which everything that it creates says who has asked for it."""
    if isinstance(command, PromiseCreateWatched):
        return PromiseCreateWatched(_with_identity(command.create, identity))
    if isinstance(command, TaskFence):
        inner = tuple(
            _with_identity(each, identity) if isinstance(each, PromiseCreate) else each
            for each in command.commands
        )
        return msgspec.structs.replace(command, commands=inner)
    if isinstance(command, PromiseCreate):
        return _with_identity(command, identity)
    if isinstance(command, TaskCreate):
        return _with_identity(command, identity)
    if isinstance(command, ScheduleCreate | SchedulePut):
        tags = {**command.promise_tags, TAG_IDENTITY: identity}
        return msgspec.structs.replace(command, promise_tags=tags)
    return command


def _with_identity(create: _C, identity: str) -> _C:
    tags = {**create.tags, TAG_IDENTITY: identity}
    return msgspec.structs.replace(create, tags=tags)


def _lacks(identity: str | None, right: str, name: str) -> str:
    return (
        f"{identity!r} lacks the right to this: none of its roles in the broker's rights.toml has "
        f"{right} = [{_short(name)}], or a prefix of it"
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= _ID_CHARS else f"{text[:_ID_CHARS]}…")
