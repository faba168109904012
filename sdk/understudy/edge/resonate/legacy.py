"""The REST of earlier servers, for SDKs of versions 0.5 and 0.6: a table of calls. Pure.

It is the same store with other names. A task of theirs is one stretch of our task: from a claim to
the ``complete`` that says that the function has ended, or waits. What it waits for was said before,
callback by callback, and the client wants to hear of each once: a function that is still in its
memory goes on with a ``resume`` that names a promise, and with nothing else. So this edge
remembers, for each task, which of its callbacks the client was not told of, and suspends the task
on them when it is completed. What has settled meanwhile is remembered by the store, too, until the
task is claimed.

If this edge does not know the callbacks, because another edge was asked for them or this one was
restarted, it takes them to be the task's children elsewhere, whose ids are made from its own. It names those
 that have settled one after another, until the client says what it waits for, and then
suspends the task on the others. If there are none, because ids were chosen, it gives the task back
a second later, each time until something settles.

A claim is answered again for a process that has it already. Their SDKs ask again if a connection
breaks, and take up what was offered to them at two edges; and they end their process if a claim is
refused.

A task's counter is our version after the claim. Idempotency keys are kept in headers of ours, which
are never shown as headers.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, TypeVar
from urllib.parse import parse_qs, unquote

import msgspec

from understudy.edge.resonate.addresses import stored_address
from understudy.edge.resonate.envelope import Refusal
from understudy.edge.resonate.legacy_records import (
    HEADER_KEY,
    TAG_KEY,
    promise_json,
    schedule_json,
)
from understudy.edge.resonate.payloads import NO_VALUE, ValueIn, stored_param, stored_value
from understudy.edge.resonate.records import stored_template, stored_time
from understudy.edge.resonate.tags import SCOPE, stored_legacy_tags
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
    TaskCreate,
    TaskGet,
    TaskHeartbeat,
    TaskRelease,
    TaskSuspend,
)
from understudy_store.records import (
    TAG_TARGET,
    TIMEDOUT,
    PromiseRecord,
    TaskRecord,
    Value,
    foreign_pid,
)

T = TypeVar("T")

_INVOKE: Final = "__invoke:"
_RESUME: Final = "__resume:"
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
_TASK_TAKEN: Final = 40305
_TASK_ABSENT: Final = 40403
_SEARCHES: Final = {
    "pending": ("pending",),
    "resolved": ("resolved",),
    "rejected": ("rejected", "rejected_canceled", "rejected_timedout"),
}
_TTL_MAX: Final = 365_250 * 86_400_000
_TIMEOUT_MAX: Final = 2**63 - 1
#: A task that is given back because nobody knows what it waits for is offered again after this.
_AGAIN_MS: Final = 1_000
#: children that are asked for at a time
_PAGE: Final = 1_000
#: tasks whose callbacks are remembered
_TASKS_MAX: Final = 100_000


class Answer(NamedTuple):
    """Status and body of a response; no body: None."""

    status: int
    body: Any


class Call(NamedTuple):
    """A request: its path without the first part, its query, headers and body."""

    id: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str | None:
        """The idempotency key."""
        return self.headers.get("idempotency-key")

    @property
    def is_strict(self) -> bool:
        """True if the client wants to hear of promises that are not as it thinks."""
        return self.headers.get("strict", "").lower() == "true"


Plan: TypeAlias = Generator[tuple[StoreCommand, ...], list[Reply], Answer]


class Waits:
    """The promises that a task is to be resumed by, as far as its client was not told of them.

    Attributes
    ----------
    awaited
        All that the client has named.
    owed
        Those that have settled.
    guesses
        Others that have settled, and that it may wait for: this edge was not told. The first is
        named next.
    """

    __slots__ = ("_told", "awaited", "guesses", "owed")

    def __init__(self) -> None:
        self.awaited: dict[str, None] = {}
        self.owed: dict[str, None] = {}
        self.guesses: deque[str] = deque()
        self._told: set[str] = set()

    def wait_for(self, id_: str) -> None:
        """Note that the client waits for a promise: it names all of them, if it names one."""
        self.awaited[id_] = None
        self.guesses.clear()

    def settled(self, *ids: str) -> None:
        """Note that promises have settled, of which the client is to be told."""
        self.owed.update((id_, None) for id_ in ids if id_ not in self._told)

    def told(self, id_: str) -> None:
        """Note that the client knows that a promise has settled."""
        self.awaited.pop(id_, None)
        self.owed.pop(id_, None)
        if self.guesses and self.guesses[0] == id_:
            self.guesses.popleft()
        self._told.add(id_)

    def begin(self) -> None:
        """Note that the store remembers no settlement, from now on, of which the client knows."""
        self._told.clear()

    @property
    def next(self) -> str | None:
        """The promise by which the task is resumed next; None: no promise."""
        return next(iter(self.owed), self.guesses[0] if self.guesses else None)


class Clients:
    """Memory of clients, kept by one edge.

    It is the promises that tasks are to be resumed by, until they are completed, by the task's id;
    the tasks that each process has claimed, for the number in the answer to a heartbeat; and the
    last claim of each process and task, to answer it again.

    Parameters
    ----------
    address_of
        Returns the address of the listener that has a process's id as its name; None: there is none
        at this edge.
    """

    def __init__(self, address_of: Callable[[str], str | None]) -> None:
        self.address_of = address_of
        self._waits: OrderedDict[str, Waits] = OrderedDict()
        self._claimed: OrderedDict[str, set[str]] = OrderedDict()
        self._counters: OrderedDict[tuple[str, str], int] = OrderedDict()

    def waits(self, task_id: str) -> Waits:
        """Return what a task waits for; to be changed."""
        waits = self._waits.get(task_id)
        if waits is None:
            waits = self._waits[task_id] = Waits()
            if len(self._waits) > _TASKS_MAX:
                self._waits.popitem(last=False)
        self._waits.move_to_end(task_id)
        return waits

    def forget(self, task_id: str) -> None:
        """Forget what a task waits for, because it has ended."""
        self._waits.pop(task_id, None)

    def claimed(self, pid: str, task_id: str, counter: int) -> None:
        """Note that a process has claimed a task."""
        self._claimed.setdefault(pid, set()).add(task_id)
        self._claimed.move_to_end(pid)
        if len(self._claimed) > _TASKS_MAX:
            self._claimed.popitem(last=False)
        self._counters[pid, task_id] = counter
        self._counters.move_to_end((pid, task_id))
        if len(self._counters) > _TASKS_MAX:
            self._counters.popitem(last=False)

    def has_claimed(self, pid: str, task_id: str, counter: int) -> bool:
        """Return whether this was the last claim of a task by a process."""
        return self._counters.get((pid, task_id)) == counter

    def held(self, pid: str) -> int | None:
        """Return how many tasks a process has; None: this edge does not know it."""
        held = self._claimed.get(pid)
        return None if held is None else len(held)

    def completed(self, task_id: str) -> None:
        """Note that a task is no longer with its client."""
        for held in self._claimed.values():
            held.discard(task_id)


# Data --------------------------------------------------------------------------------------------

_Timeout: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=_TIMEOUT_MAX)]
_Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


class _Data(msgspec.Struct, rename="camel"):
    """Base of all bodies; members that are not declared are ignored."""


class _Create(_Data):
    id: _Text
    timeout: _Timeout
    param: ValueIn | None = None
    tags: dict[str, str] | None = None


class _TaskIn(_Data):
    process_id: _Text
    ttl: Annotated[int, msgspec.Meta(ge=0, le=_TIMEOUT_MAX)]


class _CreateTask(_Data):
    promise: _Create
    task: _TaskIn


class _Complete(_Data):
    state: str
    value: ValueIn | None = None


class _Callback(_Data):
    root_promise_id: _Text
    recv: Any
    timeout: _Timeout = 0
    promise_id: str = ""


class _Subscribe(_Data):
    id: str
    recv: Any
    timeout: _Timeout = 0
    promise_id: str = ""


class _Claim(_Data):
    id: str
    counter: Annotated[int, msgspec.Meta(ge=1, le=2**62)]
    process_id: _Text
    ttl: Annotated[int, msgspec.Meta(ge=0, le=_TIMEOUT_MAX)]


class _Held(_Data):
    id: str
    counter: Annotated[int, msgspec.Meta(ge=1, le=2**62)]


class _Heartbeat(_Data):
    process_id: _Text


class _Schedule(_Data):
    id: _Text
    cron: str
    promise_id: _Text
    promise_timeout: _Timeout
    promise_param: ValueIn | None = None
    promise_tags: dict[str, str] | None = None


def _read(kind: type[T], call: Call) -> T:
    try:
        return msgspec.json.decode(call.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, f"The request is invalid: {error}") from None


def error(status: int, message: str, code: int | None = None) -> Answer:
    """Return the answer to a request that is refused."""
    return Answer(status, {"error": {"code": code or status * 100, "message": message}})


def _refused(reply: Reply, absent: str = "promise") -> Answer:
    status = reply.status
    if status == 404:
        return error(404, f"The specified {absent} was not found")
    if status in (413, 422):
        status = 400
    elif status not in (400, 403, 409):
        status = 500
    return error(status, reply.error or "refused")


def _address(recv: Any) -> str:
    stored = stored_address(recv, strict=False) if isinstance(recv, str) else None
    if stored is None:
        raise Refusal(400, f"The field recv is invalid: {recv!r}")
    return stored


def _keyed(value: Value, key: str | None) -> Value:
    return value if key is None else Value({**value.headers, HEADER_KEY: key}, value.data)


# Promises ----------------------------------------------------------------------------------------


def _create_command(asked: _Create, key: str | None) -> PromiseCreate:
    tags = stored_legacy_tags(asked.id, asked.tags or {})
    param = _keyed(stored_param(asked.param or NO_VALUE), key)
    return PromiseCreate(asked.id, stored_time(asked.timeout), param, tags)


def _existing(promise: PromiseRecord, call: Call) -> Answer | None:
    """Return the refusal of a create whose promise exists; None if it is the same create."""
    known = promise.param.headers.get(HEADER_KEY)
    if known is None or known != call.key or (call.is_strict and promise.settled):
        return error(409, "The specified promise already exists")
    return None


def _promise_create(call: Call, _clients: Clients) -> Plan:
    (reply,) = yield (_create_command(_read(_Create, call), call.key),)
    if reply.promise is None or not reply.ok:
        return _refused(reply)
    refused = None if reply.status == 201 else _existing(reply.promise, call)
    return refused or Answer(reply.status, promise_json(reply.promise))


def _promise_create_task(call: Call, clients: Clients) -> Plan:
    asked = _read(_CreateTask, call)
    create = _create_command(asked.promise, call.key)
    (seen,) = yield (PromiseGet(create.id),)
    if seen.promise is not None:
        answer = _existing(seen.promise, call)
        return answer or Answer(200, {"promise": promise_json(seen.promise)})
    if TAG_TARGET not in create.tags:
        (reply,) = yield (create,)
    else:
        ttl = max(1, min(asked.task.ttl, _TTL_MAX))
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
            error(409, "The specified promise already exists") if reply.promise else _refused(reply)
        )
    body: dict[str, Any] = {"promise": promise_json(promise)}
    held = reply.task
    if held is not None and held.state == "acquired":
        clients.claimed(asked.task.process_id, promise.id, held.version)
        body["task"] = _task_json(f"{_INVOKE}{promise.id}", held, promise)
    return Answer(201, body)


def _task_json(id_: str, task: TaskRecord, promise: PromiseRecord) -> dict[str, Any]:
    return {
        "id": id_,
        "counter": task.version,
        "timeout": promise_json(promise)["timeout"],
        "rootPromiseId": promise.id,
        "createdOn": promise.created_at,
    }


def _promise_get(call: Call, _clients: Clients) -> Plan:
    (reply,) = yield (PromiseGet(call.id),)
    if reply.promise is None:
        return _refused(reply)
    return Answer(200, promise_json(reply.promise))


def _promise_complete(call: Call, _clients: Clients) -> Plan:
    asked = _read(_Complete, call)
    state = _SETTLE_STATES.get(asked.state)
    if state is None:
        raise Refusal(400, f"The field state is invalid: {asked.state!r}")
    value = _keyed(stored_value(asked.value or NO_VALUE), call.key)
    seen, reply = yield (PromiseGet(call.id), PromiseSettle(call.id, state, value))
    if not reply.ok or reply.promise is None or seen.promise is None:
        return _refused(reply)
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


def _promise_search(call: Call, _clients: Clients) -> Plan:
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
                return _refused(reply)
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


def _callback(call: Call, clients: Clients) -> Plan:
    asked = _read(_Callback, call)
    leaf, root = call.id or asked.promise_id, asked.root_promise_id
    _address(asked.recv)
    if leaf == root:
        raise Refusal(400, "A promise cannot wait for itself")
    reply, seen = yield (PromiseRegisterCallback(leaf, root), PromiseGet(leaf))
    promise = reply.promise or seen.promise
    if not reply.ok or promise is None:
        return _refused(reply)
    waits = clients.waits(root)
    if promise.settled:
        waits.told(leaf)
        return Answer(200, {"promise": promise_json(promise)})
    waits.wait_for(leaf)
    id_ = f"{_RESUME}{root}:{leaf}"
    return _registered(reply.status, id_, promise, asked.timeout)


def _registered(status: int, id_: str, promise: PromiseRecord, timeout: int) -> Answer:
    callback = {
        "id": id_,
        "promiseId": promise.id,
        "timeout": timeout,
        "createdOn": promise.created_at,
    }
    return Answer(status, {"callback": callback, "promise": promise_json(promise)})


def _subscribe(call: Call, _clients: Clients) -> Plan:
    asked = _read(_Subscribe, call)
    id_ = call.id or asked.promise_id
    (reply,) = yield (PromiseRegisterListener(id_, _address(asked.recv)),)
    promise = reply.promise
    if not reply.ok or promise is None:
        return _refused(reply)
    if promise.settled:
        return Answer(200, {"promise": promise_json(promise)})
    return _registered(reply.status, f"__notify:{id_}:{asked.id}", promise, asked.timeout)


# Tasks -------------------------------------------------------------------------------------------


def message_of(task: TaskRecord, clients: Clients) -> dict[str, Any]:
    """Return the message that offers a pending task."""
    kind, id_ = "invoke", f"{_INVOKE}{task.id}"
    waits = clients.waits(task.id)
    waits.settled(*task.resumes)
    leaf = waits.next
    if leaf is not None:
        kind, id_ = "resume", f"{_RESUME}{task.id}:{leaf}"
    return {"type": kind, "task": {"id": id_, "counter": task.version + 1}}


def notify_of(promise: PromiseRecord) -> dict[str, Any]:
    """Return the message that tells a settlement."""
    return {"type": "notify", "promise": promise_json(promise)}


def _roots_of(task_id: str) -> list[tuple[str, str | None]]:
    """Return the promises that a task's id may mean, each with the leaf: ids may hold colons."""
    if task_id.startswith(_INVOKE):
        return [(task_id.removeprefix(_INVOKE), None)]
    parts = task_id.removeprefix(_RESUME).split(":")
    if not task_id.startswith(_RESUME) or len(parts) < 2:
        return []
    return [(":".join(parts[:n]), ":".join(parts[n:])) for n in range(1, len(parts))]


def _absent_task() -> Answer:
    return error(404, "The specified task was not found", _TASK_ABSENT)


def _taken() -> Answer:
    text = "The task is already claimed, completed, or an invalid counter was provided"
    return error(403, text, _TASK_TAKEN)


def _find(task_id: str) -> Generator[Any, list[Reply], tuple[TaskRecord, str | None] | None]:
    """Return the task that an id means, and its leaf; None if there is none."""
    roots = _roots_of(task_id)
    if not roots or len(task_id) > 2_048:
        return None
    replies = yield tuple(TaskGet(root) for root, _ in roots)
    for (_, leaf), reply in zip(roots, replies, strict=True):
        if reply.task is not None:
            return reply.task, leaf
    return None


def _claim(call: Call, clients: Clients) -> Plan:
    asked = _read(_Claim, call)
    found = yield from _find(asked.id)
    if found is None:
        return _absent_task()
    task, leaf = found
    ttl = max(1, min(asked.ttl, _TTL_MAX))
    pid = foreign_pid(asked.process_id)
    acquire = TaskAcquire(task.id, asked.counter - 1, pid, ttl)
    acquired, now, promise, told = yield (
        acquire,
        TaskGet(task.id),
        PromiseGet(task.id),
        PromiseGet(task.id if leaf is None else leaf),
    )
    if acquired.status == 404 or now.task is None or promise.promise is None:
        return _absent_task()
    has = clients.has_claimed(asked.process_id, task.id, asked.counter)
    if not (acquired.ok or has or _holds(now.task, pid, asked.counter)):
        return _taken()
    waits = clients.waits(task.id)
    if acquired.ok:
        waits.settled(*task.resumes)
        waits.begin()
    if _holds(now.task, pid, asked.counter):
        clients.claimed(asked.process_id, task.id, asked.counter)
    if leaf is not None:
        waits.told(leaf)
    promises = {"root": _linked(promise.promise)}
    if leaf is not None and told.promise is not None:
        promises["leaf"] = _linked(told.promise)
    kind = "resume" if "leaf" in promises else "invoke"
    return Answer(201, {"type": kind, "promises": promises})


def _holds(task: TaskRecord, pid: str, counter: int) -> bool:
    """Return whether a process has claimed a stretch, perhaps at another edge."""
    return task.state == "acquired" and task.pid == pid and task.version == counter


def _linked(promise: PromiseRecord) -> dict[str, Any]:
    return {"id": promise.id, "href": f"/promises/{promise.id}", "data": promise_json(promise)}


def _task_complete(call: Call, clients: Clients) -> Plan:
    asked = _read(_Held, call)
    found = yield from _find(asked.id)
    if found is None:
        return _absent_task()
    task, _ = found
    done = Answer(201, {})
    if asked.counter > task.version:
        return _taken()
    if task.state != "acquired" or asked.counter < task.version:
        # Their SDKs complete the same stretch more than once, and end if that is refused.
        if task.state == "fulfilled":
            clients.completed(task.id)
            clients.forget(task.id)
        return done
    clients.completed(task.id)
    waits = clients.waits(task.id)
    waits.settled(*task.resumes)
    if waits.next is None and not waits.awaited:
        yield from _guess(task.id, waits)
    delay_ms = 0
    if waits.awaited and waits.next is None:
        (reply,) = yield (TaskSuspend(task.id, asked.counter, tuple(waits.awaited)),)
        if reply.status == 200:
            waits.begin()
            return done
        if reply.status in (404, 409):
            return _taken()
        waits.settled(*(each.id for each in reply.promises or ()))
    if waits.next is None:
        delay_ms = _AGAIN_MS
    # The client is told of what has settled, or begins again.
    (reply,) = yield (TaskRelease(task.id, asked.counter, delay_ms),)
    return done if reply.ok else _taken()


def _guess(task_id: str, waits: Waits) -> Generator[Any, list[Reply], None]:
    """Take a task to wait for its children elsewhere, because nobody has said what it waits for."""
    cursor: str | None = None
    settled: list[PromiseRecord] = []
    while True:
        search = PromiseSearch(prefix=f"{task_id}.", limit=_PAGE, cursor=cursor)
        (reply,) = yield (search,)
        if not reply.ok:
            return
        for each in reply.promises or ():
            # Nobody waits for a grandchild, or by a callback for what runs in the same process.
            if "." in each.id[len(task_id) + 1 :] or each.tags.get(SCOPE) == "local":
                continue
            if each.settled:
                settled.append(each)
            else:
                waits.awaited[each.id] = None
        cursor = reply.cursor
        if cursor is None:
            break
    # It knows most of them. The last one to settle is most likely the one that it does not know.
    settled.sort(key=lambda each: each.settled_at or 0, reverse=True)
    waits.guesses.extend(each.id for each in settled)


def _task_drop(call: Call, clients: Clients) -> Plan:
    asked = _read(_Held, call)
    found = yield from _find(asked.id)
    if found is None:
        return _absent_task()
    clients.completed(found[0].id)
    (reply,) = yield (TaskRelease(found[0].id, asked.counter),)
    return Answer(201, {}) if reply.ok else _taken()


def _heartbeat(call: Call, clients: Clients) -> Plan:
    pid = _read(_Heartbeat, call).process_id
    (reply,) = yield (TaskHeartbeat(foreign_pid(pid)),)
    if not reply.ok:
        return _refused(reply)
    held = clients.held(pid)
    # A client that is told 0 sends no more, so one that another edge knows is told 1.
    return Answer(200, {"tasksAffected": 1 if held is None else held})


# Schedules ---------------------------------------------------------------------------------------


def _schedule_create(call: Call, _clients: Clients) -> Plan:
    asked = _read(_Schedule, call)
    tags = stored_legacy_tags("", asked.promise_tags or {})
    if call.key is not None:
        tags[TAG_KEY] = call.key
    command = ScheduleCreate(
        asked.id,
        asked.cron,
        stored_template(asked.promise_id),
        max(1, min(asked.promise_timeout, _TTL_MAX)),
        stored_param(asked.promise_param or NO_VALUE),
        tags,
    )
    (reply,) = yield (command,)
    schedule = reply.schedule
    if not reply.ok or schedule is None:
        return _refused(reply, "schedule")
    if reply.status == 200:
        known = schedule.promise_tags.get(TAG_KEY)
        if known is None or known != call.key:
            return error(409, "The specified schedule already exists")
    return Answer(reply.status, schedule_json(schedule))


def _schedule_get(call: Call, _clients: Clients) -> Plan:
    (reply,) = yield (ScheduleGet(call.id),)
    if reply.schedule is None:
        return _refused(reply, "schedule")
    return Answer(200, schedule_json(reply.schedule))


def _schedule_delete(call: Call, _clients: Clients) -> Plan:
    (reply,) = yield (ScheduleDelete(call.id),)
    return Answer(204, None) if reply.ok else _refused(reply, "schedule")


def _schedule_search(call: Call, _clients: Clients) -> Plan:
    pattern = (call.query.get("id") or ["*"])[0]
    cursor: str | None = None
    found: list[dict[str, Any]] = []
    while True:
        search = ScheduleSearch(prefix=pattern.partition("*")[0], cursor=cursor)
        (reply,) = yield (search,)
        if not reply.ok:
            return _refused(reply, "schedule")
        found += (schedule_json(s) for s in reply.schedules or () if fnmatchcase(s.id, pattern))
        cursor = reply.cursor
        if cursor is None:
            return Answer(200, {"schedules": found})


_Make: TypeAlias = Callable[[Call, Clients], Plan]

#: calls by method and path; a path that ends with a slash is followed by an id
_CALLS: Final[tuple[tuple[str, str, _Make], ...]] = (
    ("POST", "/promises", _promise_create),
    ("POST", "/promises/task", _promise_create_task),
    ("POST", "/promises/callback/", _callback),
    ("POST", "/promises/subscribe/", _subscribe),
    ("POST", "/callbacks", _callback),
    ("POST", "/subscriptions", _subscribe),
    ("GET", "/promises", _promise_search),
    ("GET", "/promises/", _promise_get),
    ("PATCH", "/promises/", _promise_complete),
    ("POST", "/tasks/claim", _claim),
    ("POST", "/tasks/complete", _task_complete),
    ("POST", "/tasks/drop", _task_drop),
    ("POST", "/tasks/heartbeat", _heartbeat),
    ("POST", "/schedules", _schedule_create),
    ("GET", "/schedules", _schedule_search),
    ("GET", "/schedules/", _schedule_get),
    ("DELETE", "/schedules/", _schedule_delete),
)
#: beginnings of paths that are this protocol's
PATHS: Final = ("/promises", "/tasks", "/schedules", "/callbacks", "/subscriptions")


def process_of(body: bytes) -> str | None:
    """Return the process that asks for a promise with its task; None if the body does not say."""
    try:
        return msgspec.json.decode(body, type=_CreateTask).task.process_id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def plan_of(
    method: str, path: str, query: str, headers: dict[str, str], body: bytes, clients: Clients
) -> Plan:
    """Return the plan of a request.

    Parameters
    ----------
    path, query
        As they came, with what is quoted in them; ids may hold slashes.

    Raises
    ------
    Refusal
        There is no such call.
    """
    for its_method, its_path, make in _CALLS:
        is_it = path.startswith(its_path) if its_path.endswith("/") else path == its_path
        if its_method == method and is_it:
            id_ = unquote(path[len(its_path) :])
            return make(Call(id_, parse_qs(query), headers, body), clients)
    raise Refusal(404, f"There is no {method} {path}")
