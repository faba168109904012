"""Actions on many calls, from their choice to the counts, at one broker and over two."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from understudy.repairs import execution, selection
from understudy.repairs.conversation import Answer, hold, hold_async
from understudy.repairs.execution import execute
from understudy.repairs.plan import Plan, Tally
from understudy.repairs.selection import (
    Causes,
    select_calls,
    select_ids,
    select_promises,
    select_tasks,
)
from understudy_actors.errors import CommandError
from understudy_broker.link.merging import merge
from understudy_broker.protocol.messages import AnyCommand, Response
from understudy_store.calls import call_cursor, call_of, call_place, is_wanted, place_of
from understudy_store.commands import (
    CallSearch,
    PromiseCancel,
    PromiseCreate,
    PromiseGet,
    PromiseSearch,
    PromiseSettle,
    Reply,
    TaskContinue,
    TaskHalt,
    TaskRetry,
    TaskSearch,
)
from understudy_store.records import EMPTY, PromiseRecord, Row, TaskRecord, TaskState, Value
from understudy_store.slots import slot_of

SHOP = "poll://any@shop"
NOW = 1_000
PENDING_CALLS = CallSearch(("pending",))


@dataclass
class Shelf:
    """The promises and tasks of one broker."""

    rows: dict[str, Row] = field(default_factory=dict)

    def answer(self, command: AnyCommand) -> Reply:
        match command:
            case CallSearch() | TaskSearch() | PromiseSearch():
                return self._page(command)
            case PromiseGet(id=id_):
                row = self.rows.get(id_)
                if row is None:
                    return Reply(404, f"promise {id_!r} does not exist")
                return Reply(200, None, row.promise)
            case PromiseCreate(id=id_):
                is_new = id_ not in self.rows
                if is_new:
                    record = PromiseRecord(
                        id_, "pending", command.param, EMPTY, command.tags, command.timeout_at, NOW
                    )
                    self.rows[id_] = Row(record)
                return Reply(201 if is_new else 200, None, self.rows[id_].promise)
            case PromiseCancel(id=id_) | PromiseSettle(id=id_):
                return self._settle(id_, command)
            case TaskContinue(id=id_) | TaskRetry(id=id_) | TaskHalt(id=id_):
                return self._move(id_, "halted" if isinstance(command, TaskHalt) else "pending")
        raise AssertionError(command)

    def _page(self, command: CallSearch | TaskSearch | PromiseSearch) -> Reply:
        rows = sorted(self.rows.values(), key=lambda row: row.promise.id)
        if isinstance(command, CallSearch):
            calls = [c for row in rows if (c := call_of(row)) is not None]
            calls = [c for c in calls if is_wanted(c, c.state, command, NOW)]
            calls.sort(key=lambda c: place_of(c, command), reverse=True)
            if (end := call_place(command.cursor or "")) is not None:
                calls = [c for c in calls if place_of(c, command) < end]
            page = calls[: command.limit]
            more = command.limit < len(calls)
            cursor = call_cursor(place_of(page[-1], command)) if more else None
            return Reply(200, calls=page, cursor=cursor)
        reply = Reply(200)
        if isinstance(command, TaskSearch):
            tasks = [row.task for row in rows if row.task and row.task.state == command.state]
            reply.tasks = [each for each in tasks if each.id > (command.cursor or "")]
            more = len(reply.tasks) > command.limit
            reply.tasks = reply.tasks[: command.limit]
            reply.cursor = reply.tasks[-1].id if more else None
        else:
            found = [row.promise for row in rows if row.promise.id.startswith(command.prefix)]
            reply.promises = [each for each in found if each.state == command.state]
        return reply

    def _settle(self, id_: str, command: PromiseCancel | PromiseSettle) -> Reply:
        row = self.rows[id_]
        record = row.promise
        if not record.settled:
            state = "rejected_canceled" if isinstance(command, PromiseCancel) else "resolved"
            record = replace(record, state=state, value=command.value, settled_at=NOW)
            self.rows[id_] = Row(record, row.task)
        return Reply(200, None, record)

    def _move(self, id_: str, state: TaskState) -> Reply:
        row = self.rows[id_]
        assert row.task is not None
        self.rows[id_] = Row(row.promise, replace(row.task, state=state, failures=0, cause=None))
        return Reply(200, None, row.promise)


class Brokers:
    """One broker, or two that share the slots; keeps what it was asked."""

    def __init__(self, count: int) -> None:
        self.shelves = [Shelf() for _ in range(count)]
        self.batches: list[int] = []

    def of(self, id_: str) -> Shelf:
        return self.shelves[slot_of(id_) % len(self.shelves)]

    def call(
        self,
        id_: str,
        function: str = "order",
        state: TaskState = "pending",
        origin: str = "",
        **fields: object,
    ) -> None:
        tags = {"understudy:target": SHOP} | ({"understudy:origin": origin} if origin else {})
        record = PromiseRecord(id_, "pending", Value({"fn": function}), EMPTY, tags, 9_999, 1)
        task = TaskRecord(id_, state, 1, SHOP, **fields)  # type: ignore[arg-type]
        self.of(id_).rows[id_] = Row(record, task)

    def ask(self, commands: Sequence[AnyCommand]) -> list[Answer]:
        self.batches.append(len(commands))
        found: list[Answer] = []
        for command in commands:
            if isinstance(command, CallSearch | TaskSearch | PromiseSearch):
                answers = [Response(0, shelf.answer(command)) for shelf in self.shelves]
                merged = merge(command, answers)
                assert isinstance(merged, Response)
                found.append(merged.reply)
                continue
            reply = self.of(command.id).answer(command)  # type: ignore[union-attr]
            found.append(reply if reply.ok else CommandError(reply.status, reply.error or ""))
        return found

    def run(self, plan: Plan | None, goes_on: Callable[[], bool] = lambda: True) -> Tally:
        assert plan is not None
        tally = Tally(len(plan.targets))
        hold(execute(plan, tally, NOW), self.ask, goes_on)
        return tally


@pytest.fixture(params=[1, 2], ids=["one broker", "two brokers"])
def brokers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Brokers:
    monkeypatch.setattr(selection, "_PAGE", 7)
    monkeypatch.setattr(selection, "READ_MAX", 5)
    monkeypatch.setattr(execution, "BATCH", 8)
    return Brokers(request.param)


def ids(plan: Plan | None) -> list[str]:
    assert plan is not None
    return sorted(each.id for each in plan.targets)


def test_calls_are_chosen_to_the_end_and_canceled_in_batches(brokers: Brokers) -> None:
    for n in range(30):
        brokers.call(f"c{n:02}", "order" if n % 3 else "refund")
    plan = hold(select_calls("cancel", replace(PENDING_CALLS, function="order")), brokers.ask)
    assert ids(plan) == [f"c{n:02}" for n in range(30) if n % 3]
    brokers.call("c99")  # It is made meanwhile, and is not meant.
    brokers.batches.clear()
    tally = brokers.run(plan)
    assert (tally.done, tally.already, tally.refused) == (20, 0, 0)
    assert brokers.batches == [8, 8, 4]
    assert not brokers.of("c99").rows["c99"].promise.settled
    again = brokers.run(plan)
    assert again.done == 20, "the same again harms nothing"


def test_it_ends_between_batches(brokers: Brokers) -> None:
    for n in range(20):
        brokers.call(f"c{n:02}")
    plan = hold(select_calls("cancel", PENDING_CALLS), brokers.ask)
    answers = iter([True, True, False])
    tally = brokers.run(plan, lambda: next(answers))
    assert (tally.done, tally.is_complete) == (16, False)
    settled = [
        row for shelf in brokers.shelves for row in shelf.rows.values() if row.promise.settled
    ]
    assert len(settled) == 16, "all that was asked is counted"
    rest = hold(select_calls("cancel", PENDING_CALLS), brokers.ask)
    assert (len(ids(rest)), brokers.run(rest).done) == (4, 4)


def test_an_event_loop_holds_the_same_conversations(brokers: Brokers) -> None:
    for n in range(10):
        brokers.call(f"c{n}")

    async def ask_all(commands: Sequence[AnyCommand]) -> list[Reply]:
        answers = brokers.ask(commands)
        return [e if isinstance(e, Reply) else Reply(e.status, e.error) for e in answers]

    async def act() -> Tally:
        plan = await hold_async(select_calls("cancel", PENDING_CALLS), ask_all)
        assert plan is not None
        tally = Tally(len(plan.targets))
        assert await hold_async(execute(plan, tally, NOW), ask_all, lambda: False) is None
        assert tally.looked_at == 0
        await hold_async(execute(plan, tally, NOW), ask_all)
        with pytest.raises(CommandError):
            await hold_async(select_ids("cancel", ["nobody"]), ask_all)
        return tally

    assert asyncio.run(act()).done == 10


def test_what_is_parked_or_fails_below_calls_is_found(brokers: Brokers) -> None:
    for n in range(12):
        brokers.call(f"c{n:02}", state="suspended")
        cause = "attempt 1 of 3 failed: ConnectionError: closed"
        brokers.call(f"c{n:02}.1", "pay", origin=f"c{n:02}", failures=1, cause=cause)
        brokers.call(f"x{n:02}", "pay", "halted", origin=f"c{n:02}", cause="ValueError: new code")
    brokers.call("other", "refund", "halted", cause="ValueError: new code")
    brokers.call("fresh.1", "pay", origin="c00")

    search = replace(PENDING_CALLS, function="order")
    plan = hold(select_calls("continue", search), brokers.ask)
    assert ids(plan) == [f"x{n:02}" for n in range(12)]
    plan = hold(select_calls("retry", search, Causes(error="ConnectionError")), brokers.ask)
    assert ids(plan) == [f"c{n:02}.1" for n in range(12)]
    assert plan is not None
    assert plan.by_function() == {"pay": 12}
    assert brokers.run(plan).done == 12
    assert ids(hold(select_calls("retry", search), brokers.ask)) == []
    assert ids(hold(select_ids("continue", ["c01", "other"]), brokers.ask)) == ["other", "x01"]

    plan = hold(select_tasks("continue", causes=Causes("new code"), prefix="x0"), brokers.ask)
    assert len(ids(plan)) == 10
    assert ids(hold(select_tasks("halt", states=["suspended"], prefix="c1"), brokers.ask)) == [
        "c10",
        "c11",
    ]
    assert ids(hold(select_calls("cancel", search, Causes("x")), brokers.ask)) == []


def test_ids_that_do_not_exist_stop_everything(brokers: Brokers) -> None:
    brokers.call("a")
    with pytest.raises(CommandError) as caught:
        hold(select_ids("cancel", ["a", "nobody"]), brokers.ask)
    assert caught.value.status == 404
    assert not brokers.of("a").rows["a"].promise.settled


def test_calls_are_restarted_once(brokers: Brokers) -> None:
    for n in range(20):
        id_ = f"c{n}"
        brokers.call(id_)
        row = brokers.of(id_).rows[id_]
        failed = replace(row.promise, state="rejected", settled_at=5)
        brokers.of(id_).rows[id_] = Row(failed, row.task)
    brokers.call("running")
    plan = hold(select_calls("restart", CallSearch(("rejected",))), brokers.ask)
    assert len(ids(plan)) == 20
    assert brokers.run(plan).done == 20
    again = brokers.run(plan)
    assert (again.done, again.already) == (0, 20)
    plan = hold(select_ids("restart", ["running"]), brokers.ask)
    assert brokers.run(plan).reasons == {"it has not ended": 1}


def test_promises_of_people_are_no_calls_and_no_sleeps(brokers: Brokers) -> None:
    for id_, tags in (
        ("ask.1", {"understudy:external": "true"}),
        ("ask.2", {"understudy:timer": "true", "understudy:external": "true"}),
        ("ask.3", {}),
    ):
        record = PromiseRecord(id_, "pending", EMPTY, EMPTY, tags, 9_999, 1)
        brokers.of(id_).rows[id_] = Row(record)
    brokers.call("ask")
    plan = hold(select_promises(prefix="ask"), brokers.ask)
    assert ids(plan) == ["ask.1"]
    assert brokers.run(plan).done == 1


def test_a_plan_has_a_bound(brokers: Brokers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "TARGETS_MAX", 10)
    for n in range(30):
        brokers.call(f"c{n:02}", state="halted")
    for plan in (
        hold(select_calls("cancel", PENDING_CALLS), brokers.ask),
        hold(select_tasks("continue"), brokers.ask),
    ):
        assert plan is not None
        assert not plan.is_whole
        assert 10 <= len(plan.targets) <= 20
