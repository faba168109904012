"""The calls of the older REST that concern promises, their callbacks and listeners. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any, Final

import msgspec

from understudy.edge.resonate.envelope import Refusal
from understudy.edge.resonate.legacy.calls import (
    INVOKE,
    RESUME,
    TIMEOUT_MAX,
    TTL_MAX,
    Answer,
    Call,
    Data,
    Plan,
    Text,
    Timeout,
    address_in,
    error,
    keyed,
    read,
    refused,
)
from understudy.edge.resonate.legacy.clients import Clients
from understudy.edge.resonate.legacy.records import HEADER_KEY, promise_json
from understudy.edge.resonate.payloads import NO_VALUE, ValueIn, stored_param, stored_value
from understudy.edge.resonate.records import stored_time
from understudy.edge.resonate.tags import stored_legacy_tags
from understudy_store.commands import (
    PromiseCreate,
    PromiseGet,
    PromiseRegisterCallback,
    PromiseRegisterListener,
    PromiseSearch,
    PromiseSettle,
    TaskCreate,
)
from understudy_store.records import TAG_TARGET, TIMEDOUT, PromiseRecord, TaskRecord, foreign_pid

_SETTLE_STATES: Final = {
    "RESOLVED": "resolved",
    "REJECTED": "rejected",
    "REJECTED_CANCELED": "rejected_canceled",
}
#: codes of errors, beside those that follow from the status
_ALREADY: Final = {
    "resolved": 40300,
    "rejected": 40301,
    "rejected_canceled": 40302,
    "rejected_timedout": 40303,
}
_SEARCHES: Final = {
    "pending": ("pending",),
    "resolved": ("resolved",),
    "rejected": ("rejected", "rejected_canceled", "rejected_timedout"),
}


class _Create(Data):
    id: Text
    timeout: Timeout
    param: ValueIn | None = None
    tags: dict[str, str] | None = None


class _TaskIn(Data):
    process_id: Text
    ttl: Annotated[int, msgspec.Meta(ge=0, le=TIMEOUT_MAX)]


class CreateTask(Data):
    promise: _Create
    task: _TaskIn


class _Complete(Data):
    state: str
    value: ValueIn | None = None


class _Callback(Data):
    root_promise_id: Text
    recv: Any
    timeout: Timeout = 0
    promise_id: str = ""


class _Subscribe(Data):
    id: str
    recv: Any
    timeout: Timeout = 0
    promise_id: str = ""


def _create_command(asked: _Create, key: str | None) -> PromiseCreate:
    tags = stored_legacy_tags(asked.id, asked.tags or {})
    param = keyed(stored_param(asked.param or NO_VALUE), key)
    return PromiseCreate(asked.id, stored_time(asked.timeout), param, tags)


def _existing(promise: PromiseRecord, call: Call) -> Answer | None:
    """Return the refusal of a create whose promise exists; None if it is the same create."""
    known = promise.param.headers.get(HEADER_KEY)
    if known is None or known != call.key or (call.is_strict and promise.settled):
        return error(409, "The specified promise already exists")
    return None


def create(call: Call, _clients: Clients) -> Plan:
    (reply,) = yield (_create_command(read(_Create, call), call.key),)
    if reply.promise is None or not reply.ok:
        return refused(reply)
    conflict = None if reply.status == 201 else _existing(reply.promise, call)
    return conflict or Answer(reply.status, promise_json(reply.promise))


def create_with_task(call: Call, clients: Clients) -> Plan:
    asked = read(CreateTask, call)
    create = _create_command(asked.promise, call.key)
    (seen,) = yield (PromiseGet(create.id),)
    if seen.promise is not None:
        answer = _existing(seen.promise, call)
        return answer or Answer(200, {"promise": promise_json(seen.promise)})
    if TAG_TARGET not in create.tags:
        (reply,) = yield (create,)
    else:
        ttl = max(1, min(asked.task.ttl, TTL_MAX))
        pid = foreign_pid(asked.task.process_id)
        tags = create.tags
        # A call that a client runs itself is resumed there: it says so with each callback, and
        # often not with the target, which is that of the default group.
        address = clients.address_of(asked.task.process_id)
        if address is not None:
            tags = {**tags, TAG_TARGET: address}
        task = TaskCreate(pid, ttl, create.id, create.timeout_at, create.param, tags)
        (reply,) = yield (task,)
    promise = reply.promise
    if not reply.ok or promise is None:
        return (
            error(409, "The specified promise already exists") if reply.promise else refused(reply)
        )
    body: dict[str, Any] = {"promise": promise_json(promise)}
    held = reply.task
    if held is not None and held.state == "acquired":
        clients.claimed(asked.task.process_id, promise.id, held.version)
        body["task"] = _task_json(f"{INVOKE}{promise.id}", held, promise)
    return Answer(201, body)


def _task_json(id_: str, task: TaskRecord, promise: PromiseRecord) -> dict[str, Any]:
    return {
        "id": id_,
        "counter": task.version,
        "timeout": promise_json(promise)["timeout"],
        "rootPromiseId": promise.id,
        "createdOn": promise.created_at,
    }


def get(call: Call, _clients: Clients) -> Plan:
    (reply,) = yield (PromiseGet(call.id),)
    if reply.promise is None:
        return refused(reply)
    return Answer(200, promise_json(reply.promise))


def complete(call: Call, _clients: Clients) -> Plan:
    asked = read(_Complete, call)
    state = _SETTLE_STATES.get(asked.state)
    if state is None:
        raise Refusal(400, f"The field state is invalid: {asked.state!r}")
    value = keyed(stored_value(asked.value or NO_VALUE), call.key)
    seen, reply = yield (PromiseGet(call.id), PromiseSettle(call.id, state, value))
    if not reply.ok or reply.promise is None or seen.promise is None:
        return refused(reply)
    promise = reply.promise
    if not seen.promise.settled:
        return Answer(201, promise_json(promise))
    key = promise.value.headers.get(HEADER_KEY)
    is_same = key is not None and key == call.key and promise.state != TIMEDOUT
    if call.is_strict:
        is_same = is_same and promise.state == state
    elif promise.state == TIMEDOUT:
        is_same = True
    if is_same:
        return Answer(200, promise_json(promise))
    word = promise.state.removeprefix("rejected_")
    return error(403, f"The promise has already been {word}", _ALREADY[promise.state])


def search(call: Call, _clients: Clients) -> Plan:
    pattern = (call.query.get("id") or ["*"])[0]
    state = (call.query.get("state") or [""])[0].lower()
    limit = (call.query.get("limit") or ["100"])[0]
    states: tuple[str | None, ...] | None = _SEARCHES.get(state) if state else (None,)
    if states is None or not (limit.isdecimal() and 1 <= int(limit) <= 100):
        raise Refusal(400, "The query is invalid")
    found: list[PromiseRecord] = []
    for each in states:
        at = next(iter(call.query.get("cursor", ())), None)
        while True:
            prefix = pattern.partition("*")[0]
            search = PromiseSearch(state=each, prefix=prefix, limit=int(limit), cursor=at)
            (reply,) = yield (search,)
            if not reply.ok:
                return refused(reply)
            found += (p for p in reply.promises or () if fnmatchcase(p.id, pattern))
            at = reply.cursor
            if at is None or len(found) > int(limit):
                break
    found.sort(key=lambda promise: promise.id)
    page = found[: int(limit)]
    body: dict[str, Any] = {"promises": [promise_json(each) for each in page]}
    if len(found) > len(page):
        body["cursor"] = page[-1].id
    return Answer(200, body)


def callback(call: Call, clients: Clients) -> Plan:
    asked = read(_Callback, call)
    leaf, root = call.id or asked.promise_id, asked.root_promise_id
    address_in(asked.recv)
    if leaf == root:
        raise Refusal(400, "A promise cannot wait for itself")
    reply, seen = yield (PromiseRegisterCallback(leaf, root), PromiseGet(leaf))
    promise = reply.promise or seen.promise
    if not reply.ok or promise is None:
        return refused(reply)
    waits = clients.waits(root)
    if promise.settled:
        waits.told(leaf)
        return Answer(200, {"promise": promise_json(promise)})
    waits.wait_for(leaf)
    id_ = f"{RESUME}{root}:{leaf}"
    return _registered(reply.status, id_, promise, asked.timeout)


def _registered(status: int, id_: str, promise: PromiseRecord, timeout: int) -> Answer:
    callback = {
        "id": id_,
        "promiseId": promise.id,
        "timeout": timeout,
        "createdOn": promise.created_at,
    }
    return Answer(status, {"callback": callback, "promise": promise_json(promise)})


def subscribe(call: Call, _clients: Clients) -> Plan:
    asked = read(_Subscribe, call)
    id_ = call.id or asked.promise_id
    (reply,) = yield (PromiseRegisterListener(id_, address_in(asked.recv)),)
    promise = reply.promise
    if not reply.ok or promise is None:
        return refused(reply)
    if promise.settled:
        return Answer(200, {"promise": promise_json(promise)})
    return _registered(reply.status, f"__notify:{id_}:{asked.id}", promise, asked.timeout)
