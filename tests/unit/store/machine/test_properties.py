"""Random commands on few ids, with a clock that steps across deadlines and leases, and restarts.

`World` checks every property of the semantics after each step.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.unit.store.machine.world import START, World, create
from understudy_store.commands import (
    Command,
    PromiseCancel,
    PromiseCreate,
    PromiseGet,
    PromiseRegisterCallback,
    PromiseRegisterListener,
    PromiseSettle,
    ScheduleCreate,
    ScheduleDelete,
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
    TaskRetry,
    TaskSuspend,
)
from understudy_store.machine import MachineConfig
from understudy_store.records import TAG_BRANCH, TAG_DELAY, TAG_TARGET, Value

#: resolved to what the task has when the command comes up, so that most commands get through
CURRENT = -1
CONFIG = MachineConfig(retry_timeout_ms=10, sweep_max=4, missed_max=3, pack_after_ms=1)

# Ids whose role is fixed by their name, so that commands collide on promises of every kind.
ROLES: dict[str, dict[str, str]] = {
    "a": {"target": "g"},
    "b": {"target": "g"},
    "a.1": {"target": "g", "origin": "a", "branch": "a"},
    "a.2": {"target": "g", "origin": "a", "branch": "a", "priority": "5"},
    "a.1.1": {"target": "h", "origin": "a", "branch": "a.1"},
    "a.d": {"target": "g", "branch": "a", "scope": "detached"},
    "a.l": {"scope": "local", "origin": "a", "branch": "a"},
    "a.l.1": {"target": "g", "origin": "a", "branch": "a", "parent": "a.l"},
    "a.t": {"timer": "true", "origin": "a", "branch": "a"},
    "x": {"external": "true"},
    "y": {"external": "true"},
    "plain": {},
    # what the schedule below makes
    "s!": {"target": "g"},
}
ids = st.sampled_from(list(ROLES))
targeted = st.sampled_from([key for key, tags in ROLES.items() if "target" in tags])


def _in_state(*states: str) -> st.SearchStrategy[str]:
    """Mostly whichever task is in one of these states when the command comes up, see `_pick`."""
    return st.one_of(
        *[st.builds("@{}:{}".format, st.sampled_from(states), st.integers(0, 9))] * 4, targeted
    )


acquired = _in_state("acquired")
_ids_of_tasks = st.one_of(targeted, targeted, ids)
pids = st.sampled_from(["n1", "n2", "n3"])
versions = st.sampled_from([CURRENT] * 8 + [0, 1, 2])
spans = st.one_of(st.integers(1, 40), st.just(500), st.just(5000))
states = st.sampled_from(
    ["resolved", "resolved", "rejected", "rejected_canceled", "rejected_timedout"]
)
values = st.sampled_from([Value({}, None), Value({}, b"1"), Value({"k": "v"}, b"2")])
addresses = st.sampled_from(["poll://uni@c/1", "poll://uni@c/2", "nowhere://"])


def _create(promise_id: str, span: int) -> PromiseCreate:
    # times are relative here, and made absolute when the command comes up
    return create(promise_id, span, **ROLES[promise_id])


creates = st.builds(_create, ids, st.one_of(spans, st.integers(-3, 5)))
delayed = st.builds(
    lambda span, delay: PromiseCreate(
        "b", span, tags={TAG_TARGET: "g", TAG_DELAY: str(START + delay)}
    ),
    spans,
    st.integers(0, 100),
)
settles = st.builds(PromiseSettle, ids, states, values)
live = _in_state("acquired", "suspended", "pending")
ttls = st.integers(3, 15)

commands: st.SearchStrategy[StoreCommand] = st.one_of(
    creates,
    creates,
    delayed,
    settles,
    st.builds(PromiseSettle, live, states, values),
    st.builds(PromiseGet, ids),
    st.builds(PromiseCancel, ids, values),
    st.builds(PromiseRegisterCallback, ids, _in_state("acquired", "pending", "halted")),
    st.builds(PromiseRegisterListener, ids, addresses),
    st.builds(
        lambda pid, ttl, key, span: TaskCreate(pid, ttl, key, span, tags=_create(key, 1).tags),
        pids,
        ttls,
        _ids_of_tasks,
        spans,
    ),
    *[st.builds(TaskAcquire, _in_state("pending"), versions, pids, ttls)] * 4,
    st.builds(
        TaskFence,
        acquired,
        versions,
        st.lists(st.one_of(creates, settles), max_size=4).map(tuple),
    ),
    st.builds(TaskSuspend, acquired, versions, st.lists(ids, max_size=3, unique=True).map(tuple)),
    *[st.builds(TaskSuspend, acquired, versions, ids.map(lambda each: (each,)))] * 3,
    st.builds(TaskFulfill, acquired, versions, states, values),
    st.builds(TaskRelease, acquired, versions, st.integers(-1, 20)),
    st.builds(TaskHeartbeat, pids, st.just(())),
    st.builds(TaskHeartbeat, pids, st.lists(st.tuples(targeted, st.integers(0, 3))).map(tuple)),
    st.builds(
        TaskHalt,
        _in_state("acquired", "suspended", "pending", "halted"),
        st.sampled_from(["", "why", "\0"]),
    ),
    st.builds(TaskContinue, _in_state("halted")),
    st.builds(TaskRetry, _in_state("pending")),
    st.builds(TaskGet, ids),
    st.builds(TaskPreload, acquired, versions),
    st.builds(
        lambda span: ScheduleCreate("s", "* * * * * *", "s!", span, promise_tags={TAG_TARGET: "g"}),
        spans,
    ),
    st.builds(
        lambda span: ScheduleCreate("r", "*/2 * * * * *", "r!{timestamp}", span),
        st.integers(1, 5000),
    ),
    st.builds(ScheduleDelete, st.sampled_from(["r", "s"])),
)

Op: TypeAlias = tuple[str, object]
operations: st.SearchStrategy[Op] = st.one_of(
    *[st.tuples(st.just("do"), commands)] * 14,
    st.tuples(st.just("advance"), st.sampled_from([0, 1, 1, 1, 2, 3, 3, 7, 7, 15, 15, 40, 600])),
    st.tuples(st.just("sweep"), st.none()),
    st.tuples(st.just("settle down"), st.none()),
    st.tuples(st.just("depart"), st.none()),
    st.tuples(st.just("land"), st.none()),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(
        st.just("follow"), st.sampled_from([0, 0, -3_600_000, -7_000, 1_500, 7_000, 900_000])
    ),
    st.tuples(
        st.just("release"),
        st.tuples(pids, st.booleans(), st.sampled_from([None, "gone"]), st.booleans()),
    ),
    st.tuples(st.just("retract_crashes"), pids),
    st.tuples(st.just("acknowledge"), st.integers(0, 5)),
)

# A run begins somewhere in a typical call: from nothing alone, few commands would find their state.
PRELUDE: list[Op] = [
    ("do", TaskCreate("n1", 10, "a", 400, tags=create("a", 0, **ROLES["a"]).tags)),
    ("do", TaskFence("a", CURRENT, tuple(_create(key, 300) for key in ROLES if key[:2] == "a."))),
    ("do", PromiseRegisterListener("a.1", "poll://uni@c/1")),
    ("sweep", None),
    ("do", _create("x", 30)),
    ("do", TaskAcquire("a.1", 0, "n2", 12)),
    ("do", TaskFence("a.1", CURRENT, (_create("a.1.1", 250),))),
    ("do", TaskSuspend("a.1", CURRENT, ("a.1.1", "x"))),
    ("depart", None),
    ("do", TaskSuspend("a", CURRENT, ("a.1", "a.2", "a.t"))),
]


def _runs(max_size: int) -> st.SearchStrategy[list[Op]]:
    return st.builds(
        lambda cut, ops: PRELUDE[:cut] + ops,
        st.sampled_from([0, 0, 2, 5, 8, len(PRELUDE), len(PRELUDE)]),
        st.lists(operations, min_size=max_size // 2, max_size=max_size),
    )


def _resolve(world: World, command: Command) -> StoreCommand:
    """Make times absolute and versions current."""
    changes: dict[str, object] = {}
    for field in ("id", "awaiter"):
        if getattr(command, field, "").startswith("@"):
            changes[field] = _pick(world, getattr(command, field))
    task_id = changes.get("id", getattr(command, "id", None))
    if isinstance(command, PromiseCreate | TaskCreate):
        changes["timeout_at"] = world.now + command.timeout_at
    if isinstance(command, TaskFence):
        changes["commands"] = tuple(_inner(world, each) for each in command.commands)
    if getattr(command, "version", None) == CURRENT:
        assert isinstance(task_id, str)
        task = world.view.tasks.get(task_id)
        changes["version"] = 0 if task is None else task.version
    return msgspec.structs.replace(command, **changes)  # type: ignore[return-value]


def _pick(world: World, choice: str) -> str:
    state, _, index = choice[1:].partition(":")
    found = [task.id for task in world.view.tasks.values() if task.state == state]
    return found[int(index) % len(found)] if found else "a"


def _inner(world: World, command: PromiseCreate | PromiseSettle) -> PromiseCreate | PromiseSettle:
    if isinstance(command, PromiseSettle):
        return command
    tags = {key: text for key, text in command.tags.items() if key != TAG_BRANCH}
    return msgspec.structs.replace(command, timeout_at=world.now + command.timeout_at, tags=tags)


def _perform(world: World, op: Op) -> None:
    name, what = op
    if name == "do":
        assert isinstance(what, Command)
        world.do(_resolve(world, what))
    elif name == "advance":
        assert isinstance(what, int)
        world.advance(what)
    elif name == "follow":
        assert isinstance(what, int)
        world.follow(what)
    elif name == "release":
        assert isinstance(what, tuple)
        pid, some, crash, presumed = what
        keep = world.machine.view.held(pid)[::2] if some else ()
        world.release(pid, keep, crash, presumed)
    elif name == "retract_crashes":
        assert isinstance(what, str)
        world.retract_crashes(what, [(task.id, task.version) for task in world.view.tasks.values()])
    elif name == "acknowledge":
        assert isinstance(what, int)
        for address, record in world.machine.owed_unblocks()[what : what + 1]:
            world.machine.acknowledge(record.id, address)
    else:
        getattr(world, name.replace(" ", "_"))()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
@given(_runs(40))
def test_every_property_holds_in_every_state_and_over_every_step(ops: list[Op]) -> None:
    world = World(CONFIG)
    for op in ops:
        note(repr(op))
        _perform(world, op)
    world.settle_down()
    world.commit()
    world.restart()
    world.settle_down()


def test_the_date_is_set_between_two_restarts_and_nothing_is_written() -> None:
    world = World(CONFIG)
    world.do(ScheduleCreate("r", "*/2 * * * * *", "r!{timestamp}", 1))
    world.commit()
    for ahead in (1500, 0):
        world.follow(ahead)
        world.restart()
    assert world.machine.state.schedules == world.shelf.schedules


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_runs(30))
def test_the_same_commands_give_the_same_replies(ops: list[Op]) -> None:
    runs = []
    for _ in range(2):
        world = World(CONFIG)
        for op in ops:
            _perform(world, op)
        world.land()
        rows, owed = world.shelf.rows, (world.executes, world.settled, world.revoked)
        runs.append((rows, owed, world.machine.take()))
    assert runs[0] == runs[1]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_runs(30), st.lists(st.booleans(), min_size=1))
def test_batches_and_commits_change_nothing_that_a_client_sees(
    ops: list[Op], cuts: list[bool]
) -> None:
    """The same commands, committed after each or hardly ever, are answered the same."""
    ops = [op for op in ops if op[0] not in ("depart", "land", "restart")]
    often, seldom = World(CONFIG), World(CONFIG)
    for at, op in enumerate(ops):
        _perform(often, op)
        _perform(seldom, op)
        often.commit()
        if cuts[at % len(cuts)]:
            seldom.depart()
        assert (often.view.promises, often.view.tasks) == (seldom.view.promises, seldom.view.tasks)
    assert often.settled == seldom.settled
    assert often.revoked == seldom.revoked
    assert often.executes == seldom.executes
