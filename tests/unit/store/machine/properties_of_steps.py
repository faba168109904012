"""The properties of steps: what holds between two views, and for the replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.unit.store.machine import edges
from tests.unit.store.machine.properties_between_slots import announced, p28_step
from tests.unit.store.machine.properties_of_schedules import check_schedules
from tests.unit.store.machine.views import Step, View
from understudy_store.addresses import canonical
from understudy_store.commands import (
    PromiseAnnounce,
    PromiseCancel,
    PromiseCreate,
    PromiseOccur,
    PromiseSettle,
    PromiseSupersede,
    Reply,
    ScheduleTrigger,
    TaskContinue,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskHalt,
    TaskRelease,
    TaskRetry,
    TaskSuspend,
)
from understudy_store.engines.base import Read
from understudy_store.records import (
    CANCELED,
    EMPTY,
    PENDING,
    TAG_BRANCH,
    TAG_DELAY,
    TAG_TARGET,
    TAG_TIMER,
    TIMEDOUT,
    PromiseRecord,
    Row,
    TaskRecord,
)
from understudy_store.slots import slot_of


def _settled_between(before: View, after: View) -> list[PromiseRecord]:
    return [
        p
        for key, p in after.promises.items()
        if p.state != PENDING and (key not in before.promises or before.pending(key))
    ]


def p03_step(_before: View, _after: View, step: Step) -> None:
    """No client can ask for a timeout."""
    asked = step.command
    if isinstance(asked, PromiseSettle | TaskFulfill) and asked.state == TIMEDOUT:
        assert step.reply is not None, "p03"
        assert step.reply.status == 400, ("p03", step)


def p04(before: View, after: View, step: Step) -> None:
    """A settlement is a client's, now, or the deadline's, without a value."""
    for p in _settled_between(before, after):
        assert p.settled_at is not None, ("p04", p)
        client = p.state != TIMEDOUT and p.settled_at == step.now < p.timeout_at
        deadline = (
            p.settled_at == p.timeout_at <= step.now
            and p.value == EMPTY
            and p.state == ("resolved" if p.tags.get(TAG_TIMER) == "true" else TIMEDOUT)
        )
        assert client or deadline, ("p04", p, step)


def p05(before: View, after: View, _step: Step) -> None:
    """What is settled does not change, and what a promise was made with never does."""
    for key, old in before.promises.items():
        new = after.promises.get(key, old)
        if old.state != PENDING:
            assert new == old, ("p05", old, new)
        made = (old.param, old.tags, old.timeout_at, old.created_at)
        assert made == (new.param, new.tags, new.timeout_at, new.created_at), ("p05", old, new)


def p06(before: View, after: View, _step: Step) -> None:
    """Promises and tasks never vanish."""
    assert before.promises.keys() <= after.promises.keys(), "p06"
    assert before.tasks.keys() <= after.tasks.keys(), "p06"


def p10(before: View, after: View, _step: Step) -> None:
    """The version counts acquisitions."""
    for key, new in after.tasks.items():
        old = before.tasks.get(key)
        if old is None:
            assert new.version == (1 if new.state == "acquired" else 0), ("p10", new)
            continue
        acquired = old.state == "pending" and new.state == "acquired"
        assert new.version == old.version + acquired, ("p10", old, new)


def p11(before: View, after: View, step: Step) -> None:
    """A lease is renewed from now; a version has one holder."""
    for key, new in after.tasks.items():
        old = before.tasks.get(key)
        if new.expires_at is not None and (old is None or old.expires_at != new.expires_at):
            assert new.ttl is not None, ("p11", new)
            assert new.expires_at == step.now + new.ttl, ("p11", old, new)
        both = old is not None and old.state == new.state == "acquired"
        if old is not None and both and old.version == new.version:
            assert (old.pid, old.ttl) == (new.pid, new.ttl), ("p11", old, new)


def _consumed(before: View, after: View, step: Step) -> set[tuple[str, str]]:
    here = {
        (awaited, awaiter)
        for awaited, awaiters in before.callbacks.items()
        for awaiter in awaiters
        if awaiter not in after.callbacks.get(awaited, ())
    }
    return here if step.name == "forget_ask" else here | announced(before, after)


def p12_step(before: View, after: View, step: Step) -> None:
    """A suspended task becomes pending only by a callback that is consumed."""
    awaiters = {awaiter for _, awaiter in _consumed(before, after, step)}
    for key, old in before.tasks.items():
        if old.state == "suspended" and after.tasks[key].state == "pending":
            assert key in awaiters, ("p12", old)


def p13(before: View, after: View, step: Step) -> None:
    """A consumed callback is in its awaiter's resumes; a consumed listener is one unblock."""
    by_announcement = announced(before, after)
    for awaited, awaiter in _consumed(before, after, step):
        assert (awaited, awaiter) in by_announcement or not after.pending(awaited), ("p13", awaited)
        task = after.tasks[awaiter]
        told = (
            # the suspend that is answered 300 has just been told
            isinstance(step.command, TaskSuspend)
            and step.command.id == awaiter
            and step.reply is not None
            and step.reply.status == 300
        )
        resumed = awaited in task.resumes or task.state == "fulfilled" or told
        assert resumed, ("p13", awaited, task)
    consumed = sorted(
        (awaited, address)
        for awaited, addresses in before.listeners.items()
        for address in addresses
        if address not in after.listeners.get(awaited, ())
    )
    assert consumed == sorted((p.id, address) for address, p in step.unblocks), ("p13", step)
    for address, p in step.unblocks:
        assert after.promises[p.id] == p, ("p13", p)
        assert (p.id, address) in after.unblocks, ("p13", p)


def p14(before: View, after: View, step: Step) -> None:
    """Nothing past its deadline is dispatched, made pending, resumed or renewed."""
    moved = {execute.id for execute in step.executes}
    for key, new in after.tasks.items():
        old = before.tasks.get(key)
        entered = old is None or old.state != new.state
        if new.state in ("pending", "acquired") and entered:
            moved.add(key)
        if old is not None and new.expires_at is not None and new.expires_at != old.expires_at:
            moved.add(key)
        if old is not None and not set(new.resumes) <= set(old.resumes):
            moved.add(key)
    if step.name == "restart":
        # leases run on; deadlines that came due meanwhile are for the sweeps that follow
        return
    for key in moved:
        p = after.promises[key]
        assert p.state == PENDING, ("p14", p, step)
        assert p.timeout_at > step.now, ("p14", p, step)


def p15(_before: View, after: View, step: Step) -> None:
    """What is offered exists, under the version that it has, to the target of its promise."""
    for execute in step.executes:
        task = after.tasks[execute.id]
        assert execute.version == task.version, ("p15", execute)
        target = canonical(after.promises[execute.id].tags[TAG_TARGET])
        assert execute.target == task.target == target, ("p15", execute, target)


def p16(before: View, after: View, step: Step) -> None:
    """A sweep settles by deadline only, and never acquires, suspends, halts or continues.

    But it cancels the last call of a schedule in whose place the next one comes.
    """
    if step.name != "sweep":
        return
    cancels = any(each.plan.overlap == "cancel_other" for each in before.schedules.values())
    for p in _settled_between(before, after):
        is_superseded = cancels and p.state == CANCELED
        assert p.settled_at == p.timeout_at or is_superseded, ("p16", p)
    for key, new in after.tasks.items():
        old = before.tasks.get(key)
        if old is not None and old.state != new.state:
            assert new.state in ("pending", "fulfilled"), ("p16", old, new)
            assert old.state != "halted" or new.state == "fulfilled", ("p16", old, new)


def p17(_before: View, after: View, step: Step) -> None:
    """A response is projected and says what is."""
    if step.reply is None:
        return
    replies = [step.reply, *(each for each in step.reply.replies or () if each is not None)]
    within_fence = isinstance(step.command, TaskFence)
    for reply in replies:
        for p in (reply.promise, *(reply.promises or ())):
            if p is not None:
                assert p.state != PENDING or p.timeout_at > step.now, ("p17", p)
                # a later command of the same fence may have settled it since
                later = within_fence and p.state == PENDING
                assert after.promises[p.id] == p or later, ("p17", p)
        if reply.task is not None:
            assert after.tasks[reply.task.id] == reply.task, ("p17", reply.task)


def p19_step(before: View, after: View, step: Step) -> None:
    """A death takes a task from its holder; the count ends when the task gets somewhere.

    And nothing is halted but by a command that says so.
    """
    branches = {p.tags.get(TAG_BRANCH) for p in _settled_between(before, after)}
    if isinstance(step.command, PromiseAnnounce):
        branches.add(step.command.promise.tags.get(TAG_BRANCH))
    for key, new in after.tasks.items():
        old = before.tasks.get(key)
        if old is None:
            assert (new.deaths, new.cause) == (0, None), ("p19", new)
            continue
        mine = getattr(step.command, "id", None) == key
        if new.deaths > old.deaths:
            assert step.name in ("sweep", "release"), ("p19", old, new, step)
            assert new.deaths == old.deaths + 1, ("p19", old, new)
            # In one sweep its lease may lapse, and its promise be canceled: see p16.
            superseded = step.name == "sweep" and after.promises[key].state == CANCELED
            ends = ("pending", "fulfilled") if superseded else ("pending",)
            assert old.state == "acquired", ("p19", old, new)
            assert new.state in ends, ("p19", old, new)
            assert new.cause, ("p19", new)
        elif step.name == "retract_crashes":
            assert new.deaths in (old.deaths, old.deaths - 1), ("p19", old, new)
        elif new.deaths < old.deaths:
            somewhere = (TaskFence, TaskSuspend, TaskRelease, TaskContinue)
            itself = isinstance(step.command, somewhere) and mine
            assert itself or key in branches, ("p19", old, new, step)
            given = step.command.cause if isinstance(step.command, TaskRelease) and mine else ""
            assert (new.deaths, new.cause) == (0, given or None), ("p19", old, new)
        elif new.cause != old.cause and not (step.name == "sweep" and key in branches):
            # In one sweep a call may time out, which is progress, and then the lease lapse.
            said = TaskHalt | TaskContinue | TaskRelease
            if new.cause is None:
                # The task got somewhere, so the failure of an attempt is of no interest any more.
                said |= TaskFence | TaskSuspend
            assert isinstance(step.command, said), ("p19", old, new, step)
            assert mine, ("p19", old, new, step)
        if new.state == "halted" and old.state != "halted":
            assert isinstance(step.command, TaskHalt), ("p19", old, new, step)
            assert mine, ("p19", old, new, step)


def p20(before: View, after: View, step: Step) -> None:
    """A task changes its state only along the edges of `edges`."""
    consumed = {awaiter for _, awaiter in _consumed(before, after, step)}
    command, reply = step.command, step.reply
    own = getattr(command, "id", None)
    for key, new in after.tasks.items():
        old = before.tasks.get(key)
        edge = (None if old is None else old.state, new.state)
        p = after.promises[key]
        settled = p.state != PENDING and (key not in before.promises or before.pending(key))
        if key == own and command is not None and reply is not None:
            expired = settled and p.settled_at == p.timeout_at
            edges.check_own(command, reply, edge, expired=expired)
        elif edge[0] != edge[1]:
            resumed = key in consumed
            edges.check_other(step.name, command, key, edge, settled=settled, resumed=resumed)


def p20_promises(before: View, after: View, step: Step) -> None:
    """A settlement that is not the deadline's is what a command asks for, with its value."""
    command = step.command
    for p in _settled_between(before, after):
        if p.settled_at == p.timeout_at:
            continue
        if isinstance(command, PromiseAnnounce):
            assert command.promise.state == CANCELED, ("p20", p, step)
            assert (p.state, p.value) == (CANCELED, EMPTY), ("p20", p, step)
            continue
        if step.name == "sweep" or isinstance(command, ScheduleTrigger | PromiseSupersede):
            # The next call of a schedule takes its place: see p16.
            assert (p.state, p.value) == (CANCELED, EMPTY), ("p20", p, step)
            continue
        if isinstance(command, PromiseCancel):
            value = command.value if p.id == command.id else EMPTY
            assert (p.state, p.value) == (CANCELED, value), ("p20", p, step)
            continue
        asked = command.commands if isinstance(command, TaskFence) else (command,)
        assert any(
            isinstance(each, PromiseSettle | TaskFulfill)
            and (each.id, each.state, each.value) == (p.id, p.state, p.value)
            for each in asked
        ), ("p20", p, step)


def p21(before: View, after: View, step: Step) -> None:
    """An offer is made when it is due, and armed anew later than now; else it stays armed."""
    offered = {execute.id for execute in step.executes}
    assert not offered or step.name == "sweep", ("p21", step)
    if step.name == "restart":
        # What is due is offered again after a restart, see p18.
        return
    for key, new in after.tasks.items():
        if new.retry_at is None:
            assert key not in offered, ("p21", new)
            continue
        old = before.tasks.get(key)
        if old is not None and old.retry_at is not None:
            if key in offered:
                assert old.retry_at <= step.now < new.retry_at, ("p21", old, new, step)
            elif isinstance(step.command, TaskRetry) and step.command.id == key and new != old:
                assert (old.failures > 0, new.retry_at) == (True, step.now), ("p21", old, new)
            else:
                assert new.retry_at == old.retry_at, ("p21", old, new, step)
        elif key in offered:
            assert new.retry_at > step.now, ("p21", new, step)
        else:
            assert new.retry_at == _first_offer(after.promises[key], old, step), ("p21", new, step)


def _first_offer(p: PromiseRecord, old: TaskRecord | None, step: Step) -> int:
    """When a task that has just become pending is due."""
    if old is None:
        return max(step.now, int(p.tags.get(TAG_DELAY, "0")))
    if isinstance(step.command, TaskRelease) and step.command.id == p.id:
        return step.now + step.command.delay
    return step.now


def p22_step(before: View, after: View, step: Step) -> None:
    """`resumes` grows by what settles, and is cleared only where the holder learns of it."""
    consumed = _consumed(before, after, step)
    for key, new in after.tasks.items():
        old = before.tasks.get(key)
        resumes = () if old is None else old.resumes
        if new.resumes[: len(resumes)] == resumes:
            more = new.resumes[len(resumes) :]
            assert all((each, key) in consumed for each in more), ("p22", old, new)
            dispatched = old is not None and old.state == "pending" and new.state == "acquired"
            assert not (dispatched and resumes), ("p22: told of nothing", old, new)
            continue
        assert old is not None, ("p22", new)
        suspends = isinstance(step.command, TaskSuspend) and step.command.id == key
        learns = (old.state, new.state) == ("pending", "acquired") or suspends
        assert new.resumes == (), ("p22", old, new)
        assert learns or new.state == "fulfilled", ("p22", old, new, step)


def p23_step(before: View, after: View, step: Step) -> None:
    """Schedules are made and deleted by commands; else only the times of their runs change."""
    date = after.now - after.ahead
    check_schedules(before.schedules, after.schedules, step.name, step.command, step.now, date)


def p24_step(before: View, after: View, step: Step) -> None:
    """What is new was created now; at its deadline, if that is over; or at its occurrence."""
    for key in after.promises.keys() - before.promises.keys():
        p = after.promises[key]
        if step.name == "sweep":
            occurrence = p.created_at - after.ahead
            assert any(
                (
                    # A call that has waited is created when it is made.
                    (old.course.waiting is not None and p.created_at == step.now)
                    or old.next_run_at
                    <= occurrence
                    <= (after.schedules[each].last_run_at or 0) + old.plan.jitter
                )
                and p.timeout_at == p.created_at + old.promise_timeout
                for each, old in before.schedules.items()
            ), ("p24", p, step)
        else:
            made = isinstance(
                step.command,
                PromiseCreate | TaskCreate | TaskFence | PromiseOccur | ScheduleTrigger,
            )
            assert made, ("p24", p, step)
            if isinstance(step.command, PromiseOccur):
                assert p.created_at == min(step.now, step.command.created_at), ("p24", p, step)
                continue
            assert p.created_at == min(step.now, p.timeout_at), ("p24", p, step)


def p27(before: View, after: View, step: Step) -> None:
    """Slots take what is theirs with them, as it is, and nothing else; and bring it."""
    if step.name not in ("expel", "admit"):
        return
    whole, part = (before, after) if step.name == "expel" else (after, before)
    for name in ("promises", "tasks", "callbacks", "listeners", "schedules"):
        all_, rest = getattr(whole, name), getattr(part, name)
        staying = {key: each for key, each in all_.items() if slot_of(key) not in step.slots}
        assert rest == staying, ("p27", name, step)
    staying_unblocks = {key for key in whole.unblocks if slot_of(key[0]) not in step.slots}
    assert part.unblocks == staying_unblocks, ("p27", step)


ALL: Final = (
    *(p03_step, p04, p05, p06, p10, p11, p12_step, p13, p14, p15, p16, p17, p19_step),
    *(p20, p20_promises, p21, p22_step, p23_step, p24_step, p28_step),
)


def check_read(rows: Mapping[str, Row], read: Read, reply: Reply) -> None:
    """Check p17 for a search or a preload, which the engine answers from `rows`."""
    found = [*(reply.promises or ()), *(each for each in (reply.promise,) if each is not None)]
    for p in found:
        stored = rows[p.id].promise
        if stored.state == PENDING and stored.timeout_at <= read.now:
            timer = stored.tags.get(TAG_TIMER) == "true"
            over = ("resolved" if timer else TIMEDOUT, stored.timeout_at, EMPTY)
            assert (p.state, p.settled_at, p.value) == over, ("p17", p, read)
        else:
            assert p == stored, ("p17", p, read)
    for t in reply.tasks or ():
        promise, task = rows[t.id].promise, rows[t.id].task
        assert task is not None, ("p08", t, read)
        is_over = promise.state != PENDING or promise.timeout_at <= read.now
        if is_over and task.state != "fulfilled":
            holds = (t.pid, t.ttl, t.expires_at, t.retry_at, t.resumes)
            assert (t.state, *holds) == ("fulfilled", None, None, None, None, ()), ("p17", t, read)
        else:
            assert t == task, ("p17", t, read)
    wanted = getattr(read.command, "state", None)
    for each in (*found, *(reply.tasks or ())):
        assert wanted in (None, each.state), ("p17", each, read)
