"""The commands of tasks."""

from __future__ import annotations

import msgspec

from understudy_store.commands import (
    PURGED_MAX,
    CallSearch,
    PromiseCreate,
    PromisePurge,
    PromiseSettle,
    Reply,
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
from understudy_store.machine import (
    attempt_log,
    crash_counts,
    elsewhere,
    leases,
    promises,
    task_moves,
)
from understudy_store.machine.live import Promise, Task
from understudy_store.machine.settlement import find, settle
from understudy_store.machine.state import State
from understudy_store.machine.transitions import TASK_TRANSITIONS, TaskEvent
from understudy_store.machine.validation import (
    Refusal,
    check_batch,
    check_call_cursor,
    check_cause,
    check_duration,
    check_error,
    check_holder,
    check_page,
    check_promise,
    check_settle,
    check_state,
    check_texts,
)
from understudy_store.records import (
    HEADER_ERROR,
    PROMISE_STATES,
    TAG_BRANCH,
    TAG_TARGET,
    TASK_STATES,
    TASK_WORDS,
    AttemptEnd,
    PromiseRecord,
    is_gone,
)
from understudy_store.slots import slot_of


def require(s: State, task_id: str, now: int) -> tuple[Promise, Task]:
    """Return the task with its promise, projected, or refuse (404)."""
    promise = find(s, task_id, now)
    if promise is None:
        raise Refusal(404, f"task {task_id!r} does not exist")
    promises.check_not_gone(promise)
    if promise.task is None:
        raise Refusal(404, f"promise {task_id!r} has no target, so it has no task")
    return promise, promise.task


def check_event(promise: Promise, task: Task, event: TaskEvent) -> None:
    """Refuse (409) an event that the table does not allow in the task's state."""
    if (task.state, event) not in TASK_TRANSITIONS:
        raise Refusal(409, f"task {task.id!r} is {TASK_WORDS[task.state]}", promise.record)


def check_version(promise: Promise, task: Task, version: int) -> None:
    """Refuse (409) a command for another version than the task has."""
    if task.version != version:
        raise Refusal(
            409, f"task {task.id!r} has version {task.version}, not {version}", promise.record
        )


def require_held(
    s: State, task_id: str, version: int, event: TaskEvent, now: int
) -> tuple[Promise, Task]:
    """Return the task that (id, version) holds, with its promise, or refuse (404 or 409)."""
    promise, task = require(s, task_id, now)
    check_event(promise, task, event)
    check_version(promise, task, version)
    return promise, task


def create(s: State, c: TaskCreate, now: int) -> Reply:
    """Create and acquire in one, or acquire the pending task that has this id."""
    check_holder(s.limits, c.pid, c.ttl)
    check_promise(s.limits, c.id, c.timeout_at, c.param, c.tags, s.accepted)
    if TAG_TARGET not in c.tags:
        raise Refusal(400, f"a task needs a target: tag {TAG_TARGET}")
    promise = find(s, c.id, now)
    if promise is None:
        return _create_acquired(s, c, now)
    promises.check_not_gone(promise)
    task = promise.task
    if task is None:
        raise Refusal(
            422, f"promise {c.id!r} exists and has no target, so it has no task", promise.record
        )
    if promise.record.settled_at is None:
        check_event(promise, task, "acquire")
        leases.acquire(s, task, c.pid, c.ttl, now)
    return Reply(200, None, promise.record, task.record())


def _create_acquired(s: State, c: TaskCreate, now: int) -> Reply:
    promise = promises.add(s, c.id, c.timeout_at, c.param, c.tags, now)
    task = promise.task
    assert task is not None
    if task_moves.may(task, "acquire"):
        leases.acquire(s, task, c.pid, c.ttl, now)
    return Reply(201, None, promise.record, task.record())


def acquire(s: State, c: TaskAcquire, now: int) -> Reply:
    """Acquire a pending task."""
    check_holder(s.limits, c.pid, c.ttl)
    promise, task = assign(s, c.id, c.version, c.pid, c.ttl, now)
    return Reply(200, None, promise.record, task.record())


def assign(
    s: State, task_id: str, version: int, pid: str, ttl: int, now: int
) -> tuple[Promise, Task]:
    """Acquire a pending task for a holder that was checked."""
    promise, task = require(s, task_id, now)
    check_event(promise, task, "acquire")
    check_version(promise, task, version)
    leases.acquire(s, task, pid, ttl, now)
    return promise, task


def fence(s: State, c: TaskFence, now: int) -> Reply:
    """Carry out each inner command; a refused one does not stop the others."""
    check_batch(s.limits, len(c.commands), "commands in a fence")
    for inner in c.commands:
        if inner.id == c.id:
            raise Refusal(400, f"a fence of task {c.id!r} cannot touch its own promise")
        if s.config.sharded and slot_of(inner.id) != slot_of(c.id):
            raise Refusal(
                400,
                f"promise {inner.id!r} is in another slot than task {c.id!r}: a fence concerns one "
                "slot, so send the command by itself once the fence is answered",
            )
    _, task = require_held(s, c.id, c.version, "fence", now)
    replies = [_inner(s, task, inner, now) for inner in c.commands]
    if task.cause is not None and None in replies:
        crash_counts.reset(s, task)
    if c.full:
        pairs = zip(replies, c.commands, strict=True)
        replies = [reply or _done(s, inner) for reply, inner in pairs]
    return Reply(200, replies=replies, now=now)


def _done(s: State, c: PromiseCreate | PromiseSettle) -> Reply:
    """Return the reply to a command that has done just what was asked."""
    return Reply(201 if type(c) is PromiseCreate else 200, None, s.promises[c.id].record)


def _inner(s: State, task: Task, c: PromiseCreate | PromiseSettle, now: int) -> Reply | None:
    try:
        if type(c) is PromiseSettle:
            record, done = promises.settle_if_pending(s, c, now, task)
            return None if done else Reply(200, None, record)
        assert type(c) is PromiseCreate
        promise, is_new = promises.get_or_create(s, _under(task, c), now)
    except Refusal as refusal:
        return refusal.reply()
    record = promise.record
    if is_new and record.settled_at is None:
        return None
    return Reply(201 if is_new else 200, None, record)


def _under(task: Task, c: PromiseCreate) -> PromiseCreate:
    """Return the create as one under `task`, so that its preload will hold the promise."""
    branch = c.tags.get(TAG_BRANCH)
    if branch is None:
        return msgspec.structs.replace(c, tags={**c.tags, TAG_BRANCH: task.id})
    if branch != task.id:
        raise Refusal(400, f"tag {TAG_BRANCH} is {branch!r}, but the fence is of task {task.id!r}")
    return c


def suspend(s: State, c: TaskSuspend, now: int) -> Reply:
    """Wait for all of `awaited`, unless one of them is settled already: 300."""
    check_batch(s.limits, len(c.awaited), "promises to wait for")
    if not c.awaited:
        raise Refusal(400, "a task suspends on at least one promise")
    if len(set(c.awaited)) < len(c.awaited):
        raise Refusal(400, "a promise is awaited twice")
    if c.id in c.awaited:
        raise Refusal(400, f"task {c.id!r} cannot wait for its own promise")
    promise, task = require_held(s, c.id, c.version, "suspend", now)
    here, there = _by_place(s, c)
    awaited = [_require_awaited(s, each, now) for each in here]
    settled: list[PromiseRecord] = []
    for each in awaited:
        promises.check_awaitable(each, c.id)
        if each.record.settled_at is not None:
            settled.append(each.record)
    if settled:
        check_event(promise, task, "stay")
        task_moves.stay(s, task)
        return Reply(300, promises=settled)
    missing = [each for each in awaited if each.callbacks is None or c.id not in each.callbacks]
    for each in missing:
        promises.check_room(s, each)
    for each in missing:
        promises.add_callback(s, each, c.id)
    if there:
        elsewhere.wait(s, task, there)
    if task.cause is not None:
        crash_counts.reset(s, task)
    task_moves.suspend(s, task)
    return Reply(200)


def _by_place(s: State, c: TaskSuspend) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the awaited ids that are known here, and those that are elsewhere."""
    if not s.config.sharded:
        return c.awaited, ()
    slot = slot_of(c.id)
    here = tuple(each for each in c.awaited if slot_of(each) == slot)
    return here, tuple(each for each in c.awaited if slot_of(each) != slot)


def _require_awaited(s: State, promise_id: str, now: int) -> Promise:
    """Return the promise, projected, or refuse (422): a 404 is about the task that suspends."""
    promise = find(s, promise_id, now)
    if promise is None or is_gone(promise.record):
        raise Refusal(422, f"promise {promise_id!r} does not exist, so no task can wait for it")
    return promise


def fulfill(s: State, c: TaskFulfill, now: int) -> Reply:
    """Settle the task's own promise."""
    event = check_settle(s.limits, c.state, c.value)
    promise, task = require_held(s, c.id, c.version, "fulfill", now)
    if event == "reject":
        attempt_log.add(s, task, "raised", now, c.value.headers.get(HEADER_ERROR))
    settle(s, promise, event, c.value, now, None)
    return Reply(200, None, promise.record)


def release(s: State, c: TaskRelease, now: int) -> Reply:
    """Give the task back, to be offered again after the delay."""
    check_duration(c.delay, "delay", 0)
    check_cause(s.limits, c.cause)
    check_error(c.error)
    _, task = require_held(s, c.id, c.version, "release", now)
    end: AttemptEnd = "raised" if c.failed else "released"
    attempt_log.add(s, task, end, now, c.error or None, c.cause or None)
    if c.failed:
        task.failures += 1
    if task.crash_count:
        crash_counts.reset(s, task)
    task.cause = c.cause or task.cause
    task_moves.release(s, task, now + c.delay)
    return Reply(200)


def heartbeat(s: State, c: TaskHeartbeat, now: int) -> Reply:
    """Renew the leases of `pid`; nothing of this is stored, because a restart renews them all."""
    check_batch(s.limits, len(c.tasks), "tasks in a heartbeat")
    holder = s.holders.get(c.pid)
    if holder is None:
        return Reply(200)
    versions = c.tasks or tuple((task.id, task.version) for task in holder.held.values())
    for task_id, version in versions:
        find(s, task_id, now)
        task = holder.held.get(task_id)
        if task is not None and task.version == version and task_moves.may(task, "renew"):
            leases.renew_lease(task, now)
    return Reply(200)


def halt(s: State, c: TaskHalt, now: int) -> Reply:
    """Halt the task, with the cause if one is given; one that is halted stays as it is."""
    check_cause(s.limits, c.cause)
    if c.version:
        require_held(s, c.id, c.version, "fence", now)
    promise, task = require(s, c.id, now)
    check_event(promise, task, "halt")
    if task_moves.changes(task, "halt"):
        task.cause = c.cause or task.cause
        attempt_log.add(s, task, "parked", now, text=c.cause or None)
        task_moves.halt(s, task)
    return Reply(200, None, promise.record, task.record())


def continue_(s: State, c: TaskContinue, now: int) -> Reply:
    """Let a halted task go on, with a crash count of 0."""
    promise, task = require(s, c.id, now)
    check_event(promise, task, "continue")
    crash_counts.reset(s, task)
    task_moves.make_pending(s, task, "continue", now)
    return Reply(200, None, promise.record, task.record())


def retry(s: State, c: TaskRetry, now: int) -> Reply:
    """Offer a task now whose attempt has failed, instead of when its retry is due."""
    promise, task = require(s, c.id, now)
    if task.state != "pending":
        raise Refusal(409, f"task {task.id!r} is {TASK_WORDS[task.state]}", promise.record)
    if not task.failures:
        text = f"no attempt of task {task.id!r} has failed, so there is nothing to retry"
        raise Refusal(409, text, promise.record)
    task_moves.offer_now(s, task, now)
    return Reply(200, None, promise.record, task.record())


def get(s: State, c: TaskGet, now: int) -> Reply:
    """Return the record of the task, and of its promise."""
    promise, task = require(s, c.id, now)
    return Reply(200, None, promise.record, task.record())


def preload(s: State, c: TaskPreload, now: int) -> Reply:
    """Check that (id, version) holds the task; the engine fills in the children."""
    require_held(s, c.id, c.version, "fence", now)
    return Reply(200)


def search(s: State, c: TaskSearch, _now: int) -> Reply:
    """Check the search; the engine answers it."""
    check_page(s.limits, c.limit)
    check_state(c.state, TASK_STATES)
    return Reply(200)


def attempts(_s: State, _c: TaskAttempts, _now: int) -> Reply:
    """Let the engine answer from the attempt log."""
    return Reply(200)


def stats(_s: State, _c: StatsGet, _now: int) -> Reply:
    """Let the engine count."""
    return Reply(200)


def search_purge(_s: State, c: PromisePurge, _now: int) -> Reply:
    """Check a purge; the engine answers what is due, and the machine then deletes it."""
    if not 1 <= c.limit <= PURGED_MAX:
        raise Refusal(400, f"a purge deletes 1 to {PURGED_MAX} call graphs at a time")
    for state in c.states:
        check_state(state, PROMISE_STATES)
    if c.cursor is not None:
        check_call_cursor(c.cursor)
    return Reply(200)


def search_calls(s: State, c: CallSearch, _now: int) -> Reply:
    """Check the search; the engine answers it."""
    check_page(s.limits, c.limit)
    for state in c.states:
        check_state(state, PROMISE_STATES)
    check_texts(s.limits, c.tags, "tag", s.limits.tag_chars_max, s.limits.tag_chars_max)
    if c.cursor is not None:
        check_call_cursor(c.cursor)
    return Reply(200)
