"""The operations of the protocol: a table from kind to plan. Pure.

A plan is a generator. It yields commands that go to the brokers together, gets their replies in the
same order, and returns the answer. A refusal of a broker becomes one of the protocol by `_refused`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from understudy.edge.resonate import tags
from understudy.edge.resonate.addresses import stored_address
from understudy.edge.resonate.envelope import VERSION, Answer, Refusal
from understudy.edge.resonate.payloads import NO_VALUE, ValueIn, stored_param, stored_value
from understudy.edge.resonate.records import (
    WIRE_TIME_MAX,
    branch_of,
    promise_json,
    schedule_json,
    stored_template,
    stored_time,
    task_json,
)
from understudy_store.commands import (
    PromiseCreate,
    PromiseGet,
    PromiseRegisterCallback,
    PromiseRegisterListener,
    PromiseSearch,
    PromiseSettle,
    Reply,
    ScheduleCreate,
    ScheduleDelete,
    ScheduleGet,
    ScheduleSearch,
    StoreCommand,
    TaskAcquire,
    TaskContinue,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskGet,
    TaskHalt,
    TaskHeartbeat,
    TaskPreload,
    TaskRelease,
    TaskSearch,
    TaskSuspend,
)
from understudy_store.records import (
    PROMISE_STATES,
    TAG_TARGET,
    TASK_STATES,
    PromiseRecord,
    TaskRecord,
    foreign_pid,
)

Plan: TypeAlias = Generator[tuple[StoreCommand, ...], list[Reply], Answer]
T = TypeVar("T")


class Terms(NamedTuple):
    """The terms of a request.

    Attributes
    ----------
    strict
        Refuse what the newest of their servers refuses.
    corr_id
        The correlation id of the request.
    """

    strict: bool = False
    corr_id: str = "0"


_SETTLE_STATES: Final = ("resolved", "rejected", "rejected_canceled")
_PAGE_MAX: Final = 1_000
#: a ttl that is longer is cut: it is a thousand years
_TTL_MAX: Final = 365_250 * 86_400_000

# Data --------------------------------------------------------------------------------------------

_Version: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_Time: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=WIRE_TIME_MAX)]
_Ttl: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=WIRE_TIME_MAX)]
_Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


class _Data(msgspec.Struct, rename="camel"):
    """Base of all data; members that are not declared are ignored."""


class _Empty(_Data):
    pass


class _Id(_Data):
    id: str


class _Create(_Data):
    id: str
    timeout_at: _Time
    param: ValueIn = NO_VALUE
    tags: dict[str, str] = {}


class _Settle(_Data):
    id: str
    state: str
    value: ValueIn = NO_VALUE


class _Callback(_Data):
    awaited: str
    awaiter: str


class _Listener(_Data):
    awaited: str
    address: str


class _Search(_Data):
    state: str | None = None
    tags: dict[str, str] | None = None
    limit: int | None = None
    cursor: str | None = None


class _Action(_Data):
    kind: str
    data: msgspec.Raw


class _TaskCreate(_Data):
    pid: _Text
    ttl: _Ttl
    action: _Action


class _Acquire(_Data):
    id: str
    version: _Version
    pid: _Text
    ttl: _Ttl


class _Held(_Data):
    id: str
    version: _Version


class _HeldAction(_Data):
    id: str
    version: _Version
    action: _Action


class _Suspend(_Data):
    id: str
    version: _Version
    actions: list[_Action]


class _Heartbeat(_Data):
    pid: _Text
    tasks: list[_Held]


class _ScheduleCreate(_Data):
    id: str
    cron: str
    promise_id: str
    promise_timeout: _Time
    promise_param: ValueIn = NO_VALUE
    promise_tags: dict[str, str] = {}


_DECODERS: Final[dict[Any, msgspec.json.Decoder[Any]]] = {}


def _read(kind: type[T], data: bytes | msgspec.Raw) -> T:
    """Read the data of an operation, or refuse it."""
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind)
    try:
        read: T = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, f"Invalid request: {error}") from None
    return read


def _check_id(id_: str, what: str = "id") -> str:
    if not id_:
        raise Refusal(400, f"{what} must not be empty")
    if "\0" in id_:
        raise Refusal(400, f"{what} must not contain null bytes")
    return id_


def _check_state(state: str | None, known: tuple[str, ...]) -> str | None:
    if state is not None and state not in known:
        raise Refusal(400, f"Invalid state {state!r}: it is one of {', '.join(known)}")
    return state


def _check_limit(limit: int | None, default: int) -> int:
    if limit is None:
        return default
    if not 1 <= limit <= _PAGE_MAX:
        raise Refusal(400, f"limit must be between 1 and {_PAGE_MAX}")
    return limit


def _check_address(address: str, strict: bool) -> str:
    stored = stored_address(address, strict)
    if stored is None:
        raise Refusal(400, f"Invalid address: {address}")
    return stored


def _settle_state(state: str) -> str:
    if state not in _SETTLE_STATES:
        raise Refusal(400, f"Invalid state {state!r}: it is one of {', '.join(_SETTLE_STATES)}")
    return state


def _create_command(data: msgspec.Raw, strict: bool, task_id: str | None = None) -> PromiseCreate:
    """Return the create that the data of a ``promise.create`` asks for."""
    asked = _read(_Create, data)
    id_ = _check_id(asked.id)
    stored = tags.stored_tags(
        id_, asked.tags, strict=strict, timeout_at=asked.timeout_at, task_id=task_id
    )
    return PromiseCreate(id_, stored_time(asked.timeout_at), stored_param(asked.param), stored)


def _settle_command(data: msgspec.Raw) -> PromiseSettle:
    asked = _read(_Settle, data)
    state = _settle_state(asked.state)
    return PromiseSettle(_check_id(asked.id), state, stored_value(asked.value))


def _check_action(action: _Action, *kinds: str) -> None:
    if action.kind not in kinds:
        raise Refusal(400, f"Invalid action {action.kind!r}: it is {' or '.join(kinds)}")


# Replies -----------------------------------------------------------------------------------------


def _refused(reply: Reply, kind: str) -> Refusal:
    """Return what a refused command is to the client."""
    status = reply.status
    if status == 404:
        return Refusal(404, f"{kind.partition('.')[0].capitalize()} not found")
    if status == 413:
        status = 400
    elif status not in (400, 401, 403, 409, 422):
        # 429 and 503 would be errors to their SDKs, which do not ask again.
        status = 500
    return Refusal(status, reply.error or "refused")


def _require(reply: Reply, kind: str) -> Reply:
    if not reply.ok:
        raise _refused(reply, kind)
    return reply


def _promise(reply: Reply) -> PromiseRecord:
    if reply.promise is None:
        raise Refusal(500, "a broker's reply lacks the promise")
    return reply.promise


def _task(reply: Reply) -> TaskRecord:
    if reply.task is None:
        raise Refusal(500, "a broker's reply lacks the task")
    return reply.task


def _preload(
    promises: Iterable[PromiseRecord] | None, task_id: str, branch: str
) -> list[dict[str, Any]]:
    """Return those of a task's children that belong to a branch."""
    found = [each for each in promises or () if each.id != task_id and branch_of(each) == branch]
    return [promise_json(each) for each in sorted(found, key=lambda each: each.id)]


def _other_branch(task_id: str, branch: str) -> Generator[Any, list[Reply], list[dict[str, Any]]]:
    """Return the promises of a branch that is not that of a task's own id."""
    found: list[PromiseRecord] = []
    cursor: str | None = None
    while True:
        search = PromiseSearch(tags={tags.BRANCH: branch}, limit=_PAGE_MAX, cursor=cursor)
        (reply,) = yield (search,)
        found += _require(reply, "promise.search").promises or ()
        cursor = reply.cursor
        if cursor is None:
            return _preload(found, task_id, branch)


def _acquired(reply: Reply, preload: Reply | None) -> Generator[Any, list[Reply], Answer]:
    """Return the answer of a task that was acquired, with its history."""
    promise, task = _promise(reply), _task(reply)
    branch = branch_of(promise)
    children: list[dict[str, Any]] = []
    if branch is not None and task.state == "acquired":
        if branch != promise.id:
            children = yield from _other_branch(promise.id, branch)
        else:
            if preload is None or not preload.ok:
                (preload,) = yield (TaskPreload(task.id, task.version),)
            children = _preload(preload.promises, promise.id, branch)
    data = {"task": task_json(task), "promise": promise_json(promise), "preload": children}
    return Answer(200, data)


# Promises ----------------------------------------------------------------------------------------


def _promise_get(data: msgspec.Raw, _terms: Terms) -> Plan:
    id_ = _check_id(_read(_Id, data).id)
    (reply,) = yield (PromiseGet(id_),)
    return Answer(200, {"promise": promise_json(_promise(_require(reply, "promise.get")))})


def _promise_create(data: msgspec.Raw, terms: Terms) -> Plan:
    (reply,) = yield (_create_command(data, terms.strict),)
    return Answer(200, {"promise": promise_json(_promise(_require(reply, "promise.create")))})


def _promise_settle(data: msgspec.Raw, _terms: Terms) -> Plan:
    (reply,) = yield (_settle_command(data),)
    return Answer(200, {"promise": promise_json(_promise(_require(reply, "promise.settle")))})


def _register_callback(data: msgspec.Raw, terms: Terms) -> Plan:
    asked = _read(_Callback, data)
    awaited, awaiter = _check_id(asked.awaited, "awaited"), _check_id(asked.awaiter, "awaiter")
    if awaited == awaiter:
        raise Refusal(400, "awaited and awaiter must differ")
    if terms.strict and not tags.share_origin(awaited, awaiter):
        raise Refusal(400, "awaited and awaiter must share an origin")
    # Where slots are shared out, the reply about a promise of another slot has no record.
    reply, seen = yield (PromiseRegisterCallback(awaited, awaiter), PromiseGet(awaited))
    promise = _require(reply, "promise").promise or _promise(_require(seen, "promise"))
    return Answer(200, {"promise": promise_json(promise)})


def _register_listener(data: msgspec.Raw, terms: Terms) -> Plan:
    asked = _read(_Listener, data)
    awaited = _check_id(asked.awaited, "awaited")
    address = _check_address(asked.address, terms.strict)
    (reply,) = yield (PromiseRegisterListener(awaited, address),)
    return Answer(200, {"promise": promise_json(_promise(_require(reply, "promise")))})


def _promise_search(data: msgspec.Raw, _terms: Terms) -> Plan:
    asked = _read(_Search, data)
    state = _check_state(asked.state, PROMISE_STATES)
    limit = _check_limit(asked.limit, 100)
    search = PromiseSearch(state=state, tags=asked.tags or {}, limit=limit, cursor=asked.cursor)
    (reply,) = yield (search,)
    found = _require(reply, "promise.search").promises or ()
    return _page("promises", [promise_json(each) for each in found], reply.cursor)


def _page(name: str, items: list[dict[str, Any]], cursor: str | None) -> Answer:
    data: dict[str, Any] = {name: items}
    if cursor is not None:
        data["cursor"] = cursor
    return Answer(200, data)


# Tasks -------------------------------------------------------------------------------------------


def _task_get(data: msgspec.Raw, _terms: Terms) -> Plan:
    id_ = _check_id(_read(_Id, data).id)
    (reply,) = yield (TaskGet(id_),)
    return Answer(200, {"task": task_json(_task(_require(reply, "task.get")))})


def _task_create(data: msgspec.Raw, terms: Terms) -> Plan:
    asked = _read(_TaskCreate, data)
    _check_action(asked.action, "promise.create")
    create = _create_command(asked.action.data, terms.strict)
    if TAG_TARGET not in create.tags:
        raise Refusal(400, "task.create needs a promise with resonate:target, and no timer")
    if terms.strict and tags.DELAY in create.tags:
        raise Refusal(400, "task.create takes no resonate:delay")
    pid, ttl = foreign_pid(asked.pid), min(asked.ttl, _TTL_MAX)
    command = TaskCreate(pid, ttl, create.id, create.timeout_at, create.param, create.tags)
    reply, preload = yield (command, TaskPreload(create.id, 1))
    if reply.status == 409:
        raise Refusal(409, "Already exists")
    _require(reply, "task.create")
    of_this = preload if reply.task is not None and reply.task.version == 1 else None
    return (yield from _acquired(reply, of_this))


def _task_acquire(data: msgspec.Raw, _terms: Terms) -> Plan:
    asked = _read(_Acquire, data)
    id_, pid, ttl = _check_id(asked.id), foreign_pid(asked.pid), min(asked.ttl, _TTL_MAX)
    version = asked.version
    reply, preload = yield (
        TaskAcquire(id_, version, pid, ttl),
        TaskPreload(id_, version + 1),
    )
    return (yield from _acquired(_require(reply, "task.acquire"), preload))


def _task_release(data: msgspec.Raw, _terms: Terms) -> Plan:
    asked = _read(_Held, data)
    (reply,) = yield (TaskRelease(_check_id(asked.id), asked.version),)
    _require(reply, "task.release")
    return Answer(200, {})


def _task_fulfill(data: msgspec.Raw, _terms: Terms) -> Plan:
    asked = _read(_HeldAction, data)
    id_ = _check_id(asked.id)
    _check_action(asked.action, "promise.settle")
    settle = _settle_command(asked.action.data)
    if settle.id != id_:
        raise Refusal(400, "the action must be about the promise of the task")
    fulfill = TaskFulfill(id_, asked.version, settle.state, settle.value)
    # A broker answers a holder, who knows the promise, without it.
    reply, promise = yield (fulfill, PromiseGet(id_))
    _require(reply, "task.fulfill")
    return Answer(200, {"promise": promise_json(_promise(_require(promise, "promise.get")))})


def _task_suspend(data: msgspec.Raw, terms: Terms) -> Plan:
    asked = _read(_Suspend, data)
    id_ = _check_id(asked.id)
    if not asked.actions:
        raise Refusal(400, "actions must not be empty")
    awaited: dict[str, None] = {}
    for action in asked.actions:
        _check_action(action, "promise.register_callback")
        callback = _read(_Callback, action.data)
        if callback.awaiter != id_:
            raise Refusal(400, "the awaiter of each action must be the task")
        if callback.awaited == id_:
            raise Refusal(400, "a task cannot await its own promise")
        if terms.strict and not tags.share_origin(callback.awaited, id_):
            raise Refusal(400, "awaited and awaiter must share an origin")
        awaited[_check_id(callback.awaited, "awaited")] = None
    reply, preload = yield (
        TaskSuspend(id_, asked.version, tuple(awaited)),
        TaskPreload(id_, asked.version),
    )
    if _require(reply, "task.suspend").status != 300:
        return Answer(200, {})
    return Answer(300, {"preload": _preload(preload.promises, id_, id_)})


def _task_fence(data: msgspec.Raw, terms: Terms) -> Plan:
    asked = _read(_HeldAction, data)
    id_, kind = _check_id(asked.id), asked.action.kind
    _check_action(asked.action, "promise.create", "promise.settle")
    inner: PromiseCreate | PromiseSettle
    if kind == "promise.create":
        inner = _create_command(asked.action.data, terms.strict, task_id=id_)
    else:
        inner = _settle_command(asked.action.data)
    if inner.id == id_:
        raise Refusal(400, "the action must not be about the promise of the task")
    fence, preload = yield (
        TaskFence(id_, asked.version, (inner,), full=True),
        TaskPreload(id_, asked.version),
    )
    reply = (_require(fence, "task.fence").replies or [None])[0]
    if reply is None:
        raise Refusal(500, "a broker's reply lacks the promise")
    status = 200
    result: Any
    if reply.ok:
        result = {"promise": promise_json(_promise(reply))}
    elif reply.status == 404:
        status, result = 404, "Promise not found"
    else:
        raise _refused(reply, kind)
    head = {"corrId": terms.corr_id, "status": status, "version": VERSION}
    action = {"kind": kind, "head": head, "data": result}
    return Answer(200, {"action": action, "preload": _preload(preload.promises, id_, id_)})


def _task_heartbeat(data: msgspec.Raw, terms: Terms) -> Plan:
    asked = _read(_Heartbeat, data)
    if terms.strict:
        if not asked.tasks:
            raise Refusal(400, "tasks must not be empty")
        if not all(tags.share_origin(asked.tasks[0].id, each.id) for each in asked.tasks):
            raise Refusal(400, "all tasks must share an origin")
    if asked.tasks:
        held = tuple((each.id, each.version) for each in asked.tasks)
        (reply,) = yield (TaskHeartbeat(foreign_pid(asked.pid), held),)
        _require(reply, "task.heartbeat")
    return Answer(200, {})


def _task_halt(data: msgspec.Raw, _terms: Terms) -> Plan:
    (reply,) = yield (TaskHalt(_check_id(_read(_Id, data).id)),)
    if reply.status == 409:
        raise Refusal(409, "Task is fulfilled")
    _require(reply, "task.halt")
    return Answer(200, {})


def _task_continue(data: msgspec.Raw, _terms: Terms) -> Plan:
    (reply,) = yield (TaskContinue(_check_id(_read(_Id, data).id)),)
    if reply.status == 409:
        raise Refusal(409, "Task is not halted")
    _require(reply, "task.continue")
    return Answer(200, {})


def _task_search(data: msgspec.Raw, _terms: Terms) -> Plan:
    asked = _read(_Search, data)
    state = _check_state(asked.state, TASK_STATES)
    limit = _check_limit(asked.limit, 100)
    (reply,) = yield (TaskSearch(state=state, limit=limit, cursor=asked.cursor),)
    found = _require(reply, "task.search").tasks or ()
    return _page("tasks", [task_json(each) for each in found], reply.cursor)


# Schedules ---------------------------------------------------------------------------------------


def _schedule_create(data: msgspec.Raw, terms: Terms) -> Plan:
    asked = _read(_ScheduleCreate, data)
    id_ = _check_id(asked.id)
    _check_id(asked.promise_id, "promiseId")
    if terms.strict and "." in id_:
        raise Refusal(400, "the id of a schedule must not contain a dot")
    if terms.strict and tags.TARGET not in asked.promise_tags:
        raise Refusal(400, "promiseTags must have resonate:target")
    command = ScheduleCreate(
        id_,
        _cron(asked.cron),
        stored_template(asked.promise_id),
        max(1, min(asked.promise_timeout, _TTL_MAX)),
        stored_param(asked.promise_param),
        tags.stored_schedule_tags(id_, asked.promise_tags, strict=terms.strict),
    )
    (reply,) = yield (command,)
    return _schedule(_require(reply, "schedule.create"))


def _cron(text: str) -> str:
    """Return a cron line without its field for the year, if that says nothing."""
    fields = text.split()
    return " ".join(fields[:6]) if len(fields) == 7 and fields[6] == "*" else text


def _schedule(reply: Reply) -> Answer:
    if reply.schedule is None:
        raise Refusal(500, "a broker's reply lacks the schedule")
    return Answer(200, {"schedule": schedule_json(reply.schedule)})


def _schedule_get(data: msgspec.Raw, _terms: Terms) -> Plan:
    (reply,) = yield (ScheduleGet(_check_id(_read(_Id, data).id)),)
    return _schedule(_require(reply, "schedule.get"))


def _schedule_delete(data: msgspec.Raw, _terms: Terms) -> Plan:
    (reply,) = yield (ScheduleDelete(_check_id(_read(_Id, data).id)),)
    _require(reply, "schedule.delete")
    return Answer(200, {})


def _schedule_search(data: msgspec.Raw, _terms: Terms) -> Plan:
    asked = _read(_Search, data)
    limit, wanted, cursor = _check_limit(asked.limit, 10), asked.tags or {}, asked.cursor
    found: list[dict[str, Any]] = []
    while True:
        (reply,) = yield (ScheduleSearch(limit=limit, cursor=cursor),)
        for each in _require(reply, "schedule.search").schedules or ():
            shown = schedule_json(each)
            if wanted.items() <= shown["promiseTags"].items():
                found.append(shown)
                if len(found) == limit:
                    is_last = reply.cursor is None and each is (reply.schedules or [])[-1]
                    return _page("schedules", found, None if is_last else each.id)
        cursor = reply.cursor
        if cursor is None:
            return _page("schedules", found, None)


#: the plan of each kind
_PLANS: Final[dict[str, Callable[[msgspec.Raw, Terms], Plan]]] = {
    "promise.get": _promise_get,
    "promise.create": _promise_create,
    "promise.settle": _promise_settle,
    "promise.register_callback": _register_callback,
    "promise.register_listener": _register_listener,
    "promise.search": _promise_search,
    "task.get": _task_get,
    "task.create": _task_create,
    "task.acquire": _task_acquire,
    "task.release": _task_release,
    "task.fulfill": _task_fulfill,
    "task.suspend": _task_suspend,
    "task.fence": _task_fence,
    "task.heartbeat": _task_heartbeat,
    "task.halt": _task_halt,
    "task.continue": _task_continue,
    "task.search": _task_search,
    "schedule.create": _schedule_create,
    "schedule.get": _schedule_get,
    "schedule.delete": _schedule_delete,
    "schedule.search": _schedule_search,
}


def plan_of(kind: str, data: msgspec.Raw, terms: Terms) -> Plan:
    """Return the plan of a request.

    Raises
    ------
    Refusal
        There is no such operation. Whatever else is refused is refused by the plan itself.
    """
    make = _PLANS.get(kind)
    if make is None:
        raise Refusal(400, f"Unknown operation: {kind}")
    return make(data, terms)
