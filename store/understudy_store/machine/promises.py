"""The commands of promises."""

from __future__ import annotations

from understudy_store.addresses import slot_of_address
from understudy_store.commands import (
    PromiseCancel,
    PromiseCreate,
    PromiseGet,
    PromiseRegisterCallback,
    PromiseRegisterListener,
    PromiseSearch,
    PromiseSettle,
    Reply,
)
from understudy_store.machine import elsewhere, task_moves
from understudy_store.machine.live import Promise, Task
from understudy_store.machine.projection import projected
from understudy_store.machine.settlement import cancel, find, note_settlement, settle
from understudy_store.machine.state import State, link
from understudy_store.machine.transitions import FIRST_TASK_STATE, TASK_TRANSITIONS
from understudy_store.machine.validation import (
    Refusal,
    canonical,
    check_address,
    check_page,
    check_promise,
    check_settle,
    check_state,
    check_texts,
    check_value,
)
from understudy_store.records import (
    EMPTY,
    PENDING,
    PROMISE_STATES,
    PROMISE_WORDS,
    TAG_BRANCH,
    TAG_DELAY,
    TAG_PRIORITY,
    TAG_TARGET,
    PromiseRecord,
    Value,
    is_external,
    is_gone,
    is_local,
)
from understudy_store.slots import slot_of


def require(s: State, promise_id: str, now: int) -> Promise:
    """Return the promise, projected, or refuse (404)."""
    promise = find(s, promise_id, now)
    if promise is None:
        raise Refusal(404, f"promise {promise_id!r} does not exist")
    check_not_gone(promise)
    return promise


def check_not_gone(promise: Promise) -> None:
    """Refuse (410) a promise of which only a tombstone is left."""
    record = promise.record
    if is_gone(record):
        word = PROMISE_WORDS[record.state]
        raise Refusal(
            410, f"promise {record.id!r} has ended as {word}, and was purged; its id stays taken"
        )


def get(s: State, c: PromiseGet, now: int) -> Reply:
    """Return the record."""
    return Reply(200, None, require(s, c.id, now).record)


def create(s: State, c: PromiseCreate, now: int) -> Reply:
    """Create the promise, or return the one that has this id."""
    promise, is_new = get_or_create(s, c, now)
    return Reply(201 if is_new else 200, None, promise.record)


def get_or_create(s: State, c: PromiseCreate, now: int) -> tuple[Promise, bool]:
    """Return the promise under this id, and True if this call has created it."""
    check_promise(s.limits, c.id, c.timeout_at, c.param, c.tags, s.accepted)
    promise = find(s, c.id, now)
    if promise is not None:
        check_not_gone(promise)
        return promise, False
    # The calls of a fan-out share their headers and tags: these are kept once.
    headers, tags = s.accepted.headers, s.accepted.tags
    param = c.param if c.param.headers is headers else Value(headers, c.param.data)
    return add(s, c.id, c.timeout_at, param, tags, now), True


def add(
    s: State,
    promise_id: str,
    timeout_at: int,
    param: Value,
    tags: dict[str, str],
    now: int,
    occurrence: int | None = None,
) -> Promise:
    """Add a promise that was checked and is new, and its task if it is targeted.

    The task is due now, or at its delay. The promise of a schedule is created at its occurrence,
    however late the sweep is; any other (None) is created now, or at its deadline if that is over.
    """
    if timeout_at <= now:
        created_at = timeout_at if occurrence is None else occurrence
        return _add_settled(s, promise_id, timeout_at, param, tags, now, created_at)
    created_at = now if occurrence is None else occurrence
    record = PromiseRecord(promise_id, PENDING, param, EMPTY, tags, timeout_at, created_at)
    task = None
    if TAG_TARGET in tags:
        priority = int(tags[TAG_PRIORITY]) if TAG_PRIORITY in tags else 0
        task = Task(promise_id, canonical(tags[TAG_TARGET]), priority, FIRST_TASK_STATE)
        s.counts[FIRST_TASK_STATE] += 1
        delay = tags.get(TAG_DELAY)
        task_moves.arm_offer(s, task, now if delay is None else max(now, int(delay)))
    promise = s.promises[promise_id] = s.dirty[promise_id] = Promise(record, task, False)
    s.pending += 1
    s.deadlines.arm(timeout_at, promise_id)
    if tags:
        link(s, promise_id, tags)
        if s.config.sharded:
            elsewhere.ask_for_callers(s, promise_id, tags)
    return promise


def _add_settled(
    s: State,
    promise_id: str,
    timeout_at: int,
    param: Value,
    tags: dict[str, str],
    now: int,
    created_at: int,
) -> Promise:
    """Add a promise whose deadline has passed before it was created."""
    made = PromiseRecord(promise_id, PENDING, param, EMPTY, tags, timeout_at, created_at)
    record = projected(made, now)
    task = None
    if TAG_TARGET in tags:
        fulfilled = TASK_TRANSITIONS[FIRST_TASK_STATE, "settle"]
        task = Task(promise_id, canonical(tags[TAG_TARGET]), 0, fulfilled)
    promise = s.promises[promise_id] = s.dirty[promise_id] = Promise(record, task, False)
    note_settlement(s, record, None)
    return promise


def settle_(s: State, c: PromiseSettle, now: int) -> Reply:
    """Settle the promise, or return how it was settled before."""
    return Reply(200, None, settle_if_pending(s, c, now, None)[0])


def settle_if_pending(
    s: State, c: PromiseSettle, now: int, by: Task | None
) -> tuple[PromiseRecord, bool]:
    """Settle a promise if it is pending; return its record, and True if this call settled it."""
    event = check_settle(s.limits, c.state, c.value)
    promise = require(s, c.id, now)
    if promise.record.settled_at is not None:
        return promise.record, False
    settle(s, promise, event, c.value, now, "canceled" if event == "cancel" else "settled", by)
    return promise.record, True


def cancel_(s: State, c: PromiseCancel, now: int) -> Reply:
    """Cancel the promise and, in its call graph, all it still waits for."""
    check_value(s.limits, c.value, "value")
    promise = require(s, c.id, now)
    if promise.record.settled_at is None:
        cancel(s, promise, c.value, now)
    return Reply(200, None, promise.record)


def check_awaitable(awaited: Promise, awaiter: str | None) -> None:
    """Refuse (422) to let `awaiter`, or a listener (None), wait for an internal promise."""
    record = awaited.record
    if not is_external(record) or (
        is_local(record) and (awaiter is None or record.tags.get(TAG_BRANCH) != awaiter)
    ):
        raise Refusal(
            422,
            f"promise {record.id!r} cannot be waited for from outside: it has no target, is no "
            "timer and is not marked external",
            record,
        )


def check_room(s: State, awaited: Promise) -> None:
    """Refuse (400) one more callback or listener than a promise may have."""
    count = len(awaited.callbacks or ()) + len(awaited.listeners or ())
    if count >= s.limits.callbacks_max:
        raise Refusal(
            400, f"promise {awaited.record.id!r} already has {count} callbacks and listeners"
        )


def add_callback(s: State, awaited: Promise, awaiter: str) -> None:
    """Add an awaiter that the promise does not have yet."""
    if awaited.callbacks is None:
        awaited.callbacks = {}
    awaited.callbacks[awaiter] = None
    s.callbacks_new.setdefault(awaited.record.id, []).append(awaiter)


def register_callback(s: State, c: PromiseRegisterCallback, now: int) -> Reply:
    """Have the awaiter's task resumed once the awaited promise settles."""
    if c.awaited == c.awaiter:
        raise Refusal(400, f"promise {c.awaited!r} cannot wait for itself")
    if elsewhere.is_elsewhere(s, c.awaited, slot_of(c.awaiter)):
        return _wait_elsewhere(s, c, now)
    awaited = require(s, c.awaited, now)
    awaiter = _require_awaiter(s, c.awaiter, now)
    check_awaitable(awaited, c.awaiter)
    settled = awaited.record.settled_at is not None or awaiter.record.settled_at is not None
    if settled or (awaited.callbacks is not None and c.awaiter in awaited.callbacks):
        return Reply(200, None, awaited.record)
    check_room(s, awaited)
    add_callback(s, awaited, c.awaiter)
    return Reply(201, None, awaited.record)


def _require_awaiter(s: State, promise_id: str, now: int) -> Promise:
    awaiter = find(s, promise_id, now)
    if awaiter is None or awaiter.task is None:
        why = "does not exist" if awaiter is None else "has no target, so it has no task to resume"
        raise Refusal(422, f"awaiter {promise_id!r} {why}")
    return awaiter


def _wait_elsewhere(s: State, c: PromiseRegisterCallback, now: int) -> Reply:
    """Let a task wait for a promise of another slot, of which nothing is known here."""
    awaiter = _require_awaiter(s, c.awaiter, now)
    task = awaiter.task
    assert task is not None
    if awaiter.record.settled_at is not None or c.awaited in (task.awaits or ()):
        return Reply(200)
    elsewhere.wait(s, task, (c.awaited,))
    return Reply(201)


def register_listener(s: State, c: PromiseRegisterListener, now: int) -> Reply:
    """Owe the address an unblock once the promise settles."""
    # A slot may listen to any promise, and always finds room: there are few of them.
    is_slot = slot_of_address(c.address) is not None
    address = c.address if is_slot else check_address(c.address)
    awaited = require(s, c.awaited, now)
    if not is_slot:
        check_awaitable(awaited, None)
    if awaited.record.settled_at is not None or (
        awaited.listeners is not None and address in awaited.listeners
    ):
        return Reply(200, None, awaited.record)
    if not is_slot:
        check_room(s, awaited)
    if awaited.listeners is None:
        awaited.listeners = {}
    awaited.listeners[address] = None
    s.listeners_new.setdefault(c.awaited, []).append(address)
    return Reply(201, None, awaited.record)


def search(s: State, c: PromiseSearch, _now: int) -> Reply:
    """Check the search; the engine answers it."""
    check_page(s.limits, c.limit)
    check_state(c.state, PROMISE_STATES)
    check_texts(s.limits, c.tags, "tag", s.limits.tag_chars_max, s.limits.tag_chars_max)
    return Reply(200)
