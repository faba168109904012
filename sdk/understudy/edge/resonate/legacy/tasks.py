"""The calls of the older REST that concern tasks, and the messages that offer them. Pure."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Any, Final

import msgspec

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
    error,
    read,
    refused,
)
from understudy.edge.resonate.legacy.clients import Clients, Waits
from understudy.edge.resonate.legacy.records import promise_json
from understudy.edge.resonate.tags import SCOPE
from understudy_store.commands import (
    PromiseGet,
    PromiseSearch,
    Reply,
    TaskAcquire,
    TaskGet,
    TaskHeartbeat,
    TaskRelease,
    TaskSuspend,
)
from understudy_store.records import PromiseRecord, TaskRecord, foreign_pid

_TASK_TAKEN: Final = 40305
_TASK_ABSENT: Final = 40403
#: A task that is given back because nobody knows what it waits for is offered again after this.
_AGAIN_MS: Final = 1_000
#: children that are asked for at a time
_PAGE: Final = 1_000


class _Claim(Data):
    id: str
    counter: Annotated[int, msgspec.Meta(ge=1, le=2**62)]
    process_id: Text
    ttl: Annotated[int, msgspec.Meta(ge=0, le=TIMEOUT_MAX)]


class _Held(Data):
    id: str
    counter: Annotated[int, msgspec.Meta(ge=1, le=2**62)]


class _Heartbeat(Data):
    process_id: Text


def message_of(task: TaskRecord, clients: Clients) -> dict[str, Any]:
    """Return the message that offers a pending task."""
    kind, id_ = "invoke", f"{INVOKE}{task.id}"
    waits = clients.waits(task.id)
    waits.settled(*task.resumes)
    leaf = waits.next
    if leaf is not None:
        kind, id_ = "resume", f"{RESUME}{task.id}:{leaf}"
    return {"type": kind, "task": {"id": id_, "counter": task.version + 1}}


def notify_of(promise: PromiseRecord) -> dict[str, Any]:
    """Return the message that tells a settlement."""
    return {"type": "notify", "promise": promise_json(promise)}


def _roots_of(task_id: str) -> list[tuple[str, str | None]]:
    """Return the promises that a task's id may mean, each with the leaf: ids may hold colons."""
    if task_id.startswith(INVOKE):
        return [(task_id.removeprefix(INVOKE), None)]
    parts = task_id.removeprefix(RESUME).split(":")
    if not task_id.startswith(RESUME) or len(parts) < 2:
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


def claim(call: Call, clients: Clients) -> Plan:
    asked = read(_Claim, call)
    found = yield from _find(asked.id)
    if found is None:
        return _absent_task()
    task, leaf = found
    ttl = max(1, min(asked.ttl, TTL_MAX))
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


def complete(call: Call, clients: Clients) -> Plan:
    asked = read(_Held, call)
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


def drop(call: Call, clients: Clients) -> Plan:
    asked = read(_Held, call)
    found = yield from _find(asked.id)
    if found is None:
        return _absent_task()
    clients.completed(found[0].id)
    (reply,) = yield (TaskRelease(found[0].id, asked.counter),)
    return Answer(201, {}) if reply.ok else _taken()


def heartbeat(call: Call, clients: Clients) -> Plan:
    pid = read(_Heartbeat, call).process_id
    (reply,) = yield (TaskHeartbeat(foreign_pid(pid)),)
    if not reply.ok:
        return refused(reply)
    held = clients.held(pid)
    # A client that is told 0 sends no more, so one that another edge knows is told 1.
    return Answer(200, {"tasksAffected": 1 if held is None else held})
