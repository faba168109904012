"""Coroutines that start tasks, on both loops: their calls have the same ids in every order."""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest
import trio

from tests.support import eventually
from tests.unit.actors.executor.rig import ExecutorRig
from tests.unit.actors.interpreter.harness import ROOT, START, answer, root_record, settled
from understudy.retry import Constant, Retry
from understudy_actors.activation import Activation, Run, StepReport
from understudy_actors.errors import CommandError, RequestError
from understudy_actors.executor import AsyncLoop
from understudy_actors.interpreter.ports import LOOPS, LoopName
from understudy_actors.interpreter.routine import UNANSWERED_MAX, Routine
from understudy_actors.lent_slots import while_lent
from understudy_store.commands import PromiseCreate
from understudy_store.records import PENDING, PromiseRecord, Value

NAME: ContextVar[str] = ContextVar("NAME", default="nobody")


class Player:
    """Plays the node and the world for one run: settles what the run asks for, when told to."""

    def __init__(
        self,
        rig: ExecutorRig,
        name: LoopName,
        fn: Callable[..., Any],
        *args: Any,
        history: list[PromiseRecord] | None = None,
        retry: Retry | None = None,
    ) -> None:
        self.rig = rig
        registry = rig.env.registry
        function = registry.of(fn) or registry.register(fn, loop=name, retry=retry)
        record = root_record()
        data = rig.env.values.encode_call(None, args, {})
        self.routine = Routine(
            rig.env, function, record, origin=ROOT, branch=ROOT, data=data, history=history
        )
        self.run = Run(Activation(record, 1), self.routine, None)
        self.loop = AsyncLoop(rig.results, lambda: START, name=name, hold_turns=50)
        self.promises = {record.id: record for record in history or ()}
        self.pending = [r.id for r in self.promises.values() if r.state == PENDING]
        self.waits = False
        self.answers = True
        self.ended: StepReport | None = None
        self.loop.submit(self.run)

    def turn(self, *, timeout_s: float = 10.0) -> list[StepReport]:
        """Take in the reports that there are, at least one."""
        reports: list[StepReport] = eventually(self.rig.results.take, timeout_s)
        for report in reports:
            for command in report.result.commands:
                assert isinstance(command, PromiseCreate)
                assert command.id not in self.promises, f"{command.id} is made twice"
                self.promises[command.id] = PromiseRecord(
                    command.id, PENDING, command.param, Value({}), {}, command.timeout_at, START
                )
                self.pending.append(command.id)
            if self.answers and report.result.commands:
                self.routine.answered(len(report.result.commands))
            self.waits = report.waits
            if report.final:
                self.ended = report
                if report.result.done is None and self.routine.inbox:
                    self._step()
        return reports

    def turn_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.turn()

    def settle(self, id: str, at: int = START) -> None:
        self.pending.remove(id)
        record = self.promises[id]
        self.promises[id] = settled(record, *answer(self.rig.env, record), at)
        self.routine.learn(self.promises[id])
        if self.ended is not None:
            self._step()

    def _step(self) -> None:
        self.ended = None
        self.loop.submit(self.run)

    @property
    def value(self) -> Any:
        assert self.ended is not None
        return self.rig.value(self.ended)

    def at_end(self) -> bool:
        """Whether the step has ended."""
        return self.ended is not None

    def is_done(self) -> bool:
        """Whether the function has settled."""
        return self.ended is not None and self.ended.result.done is not None

    def stop(self) -> None:
        self.routine.dropped = True
        self.loop.close(self.run)
        self.loop.stop()
        self.rig.results.take()
        for thread in self.loop.threads:
            thread.join(10)
            assert not thread.is_alive()


Play = Callable[..., Player]


@pytest.fixture
def play(rig: ExecutorRig) -> Iterator[Play]:
    players: list[Player] = []

    def begin(*args: Any, **options: Any) -> Player:
        players.append(Player(rig, *args, **options))
        return players[-1]

    yield begin
    for player in players:
        player.stop()


async def gather(name: LoopName, *functions: Callable[[], Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run async functions in tasks, in the manner of the loop; return their results."""
    if name == "asyncio":
        return list(await asyncio.gather(*(function() for function in functions)))
    results: list[Any] = [None] * len(functions)

    async def put(place: int) -> None:
        results[place] = await functions[place]()

    async with trio.open_nursery() as nursery:
        for place in range(len(functions)):
            nursery.start_soon(put, place)
    return results


def tree(name: LoopName, depth: int, chance: random.Random) -> Callable[[Any], Any]:
    """Return an async function that makes calls, and starts tasks that do so, as drawn once."""
    drawn = [
        (
            chance.choice(["call", "call", "all", "map", "begin", "tasks" if depth else "call"]),
            [tree(name, depth - 1, chance) for _ in range(3)] if depth else [],
        )
        for _ in range(chance.randint(1, 3))
    ]

    async def branch(ctx: Any) -> list[Any]:
        seen: list[Any] = []
        for kind, inner in drawn:
            try:
                if kind == "call":
                    seen.append(await ctx.rfc("leaf"))
                elif kind == "all":
                    calls = [ctx.rfi("leaf") for _ in range(2)]
                    seen.append(await ctx.all(calls, return_exceptions=True))
                elif kind == "map":
                    seen.append(await ctx.map("leaf", [1, 2], return_exceptions=True))
                elif kind == "begin":
                    begun = await ctx.rfi("leaf")
                    seen.append(await begun)
                else:
                    parts = (lambda fn=fn: fn(ctx) for fn in inner)
                    seen.append(await gather(name, *parts))
            except RuntimeError as error:
                seen.append(str(error))
            seen += [ctx.time, ctx.random.random()]
        return [repr(each) for each in seen]

    branch.__qualname__ = chance.choice(("buy", "pack", "ship"))
    return branch


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", LOOPS)
def test_the_order_of_results_and_a_crash_change_nothing(
    rig: ExecutorRig, play: Play, name: LoopName, seed: int
) -> None:
    fn = tree(name, 2, random.Random(seed))

    async def root(ctx: Any) -> Any:
        return await fn(ctx)

    # When a promise settles is part of the history, and the same in every order.
    at: dict[str, int] = {}

    def finish(player: Player, chance: random.Random, crash_after: int | None = None) -> bool:
        settlements = 0
        while not player.is_done():
            if player.pending and (player.waits or player.ended is not None):
                if settlements == crash_after:
                    return False
                id = chance.choice(player.pending)
                player.settle(id, at.setdefault(id, START + random.Random(id).randint(1, 1000)))
                settlements += 1
            else:
                player.turn()
        return True

    first = play(name, root)
    finish(first, random.Random(seed))
    ids = set(first.promises)
    for order in range(3):
        chance = random.Random(f"{seed} {order}")
        player = play(name, root)
        while not finish(player, chance, crash_after=chance.randint(0, 6)):
            history = list(player.promises.values())
            player.stop()
            player = play(name, root, history=history)
        assert player.value == first.value
        assert set(player.promises) == ids


@pytest.mark.parametrize("name", LOOPS)
def test_ids_say_which_task_has_made_a_call(play: Play, name: LoopName) -> None:
    async def fetch(ctx: Any) -> None:
        for _ in range(2):
            with suppress(RuntimeError):
                await ctx.rfc("leaf")

    async def root(ctx: Any) -> None:
        await gather(name, lambda: fetch(ctx), lambda: fetch(ctx))

    player = play(name, root)
    while not player.is_done():
        player.turn()
        for id in list(player.pending):
            player.settle(id)
    task = "fetch" if name == "asyncio" else "put"
    assert sorted(player.promises) == [f"root.{task}-{n}.{k}" for n in (1, 2) for k in (1, 2)]


@pytest.mark.parametrize("name", LOOPS)
def test_a_task_has_its_own_time_and_random_numbers(play: Play, name: LoopName) -> None:
    async def part(ctx: Any, calls: bool) -> tuple[float, float]:
        if calls:
            await ctx.all([ctx.rfi("leaf")], return_exceptions=True)
        return ctx.time, ctx.random.random()

    async def root(ctx: Any) -> list[Any]:
        parts = await gather(name, lambda: part(ctx, True), lambda: part(ctx, False))
        return [*parts, (ctx.time, ctx.random.random())]

    player = play(name, root)
    player.turn_until(lambda: player.waits)
    player.settle(player.pending[0], START + 7000)
    player.turn_until(player.is_done)
    times, numbers = zip(*player.value, strict=True)
    assert times == (START / 1000 + 7, START / 1000, START / 1000)
    assert len(set(numbers)) == 3


def test_requests_are_gathered_in_the_order_in_which_they_are_made(play: Play) -> None:
    async def root(ctx: Any) -> Any:
        return await asyncio.gather(*(ctx.rfc("leaf") for _ in range(3)), return_exceptions=True), (
            await asyncio.wait_for(ctx.promise(), 5)
        ).id

    player = play("asyncio", root)
    while not player.is_done():
        player.turn()
        for id in reversed(list(player.pending)):
            player.settle(id)
    values, promise = player.value
    assert [str(v).rpartition(" ")[2] for v in values] == ["root.1", "root.2", "root.3"]
    assert promise == "root.4"


@pytest.mark.parametrize("name", LOOPS)
def test_a_run_says_whether_it_waits_for_promises(play: Play, name: LoopName) -> None:
    go_on: list[Callable[[], None]] = []

    async def waits(ctx: Any) -> None:
        await ctx.rfc("leaf")

    async def works() -> None:
        event = asyncio.Event() if name == "asyncio" else trio.Event()
        go_on.append(event.set)
        await event.wait()

    async def root(ctx: Any) -> str:
        await gather(name, lambda: waits(ctx), works)
        return "done"

    player = play(name, root)
    player.turn_until(lambda: bool(player.waits and go_on))
    player.settle(player.pending[0])
    player.turn_until(lambda: not player.waits)
    assert not player.at_end()
    player.loop.events.run_soon(go_on[0])
    while not player.is_done():
        player.turn()
    assert player.value == "done"


@pytest.mark.parametrize("name", LOOPS)
def test_a_time_limit_interrupts_a_wait_in_an_open_step(play: Play, name: LoopName) -> None:
    async def root(ctx: Any) -> str:
        try:
            if name == "asyncio":
                async with asyncio.timeout(0.05):
                    await ctx.promise().options(timeout=1)
                    await (await ctx.rfi("never").options(timeout=1))
            with trio.fail_after(0.05):
                await ctx.rfc("never").options(timeout=1)
        except (TimeoutError, trio.TooSlowError):
            return "too late"
        return "answered"

    player = play(name, root)
    while not player.waits:
        player.turn()
    assert not player.at_end(), "the lease is needed for what comes after the limit"
    while not player.at_end():
        player.turn()
    assert not player.is_done(), "it waits for the call that it has given up"
    for id in list(player.pending):
        player.settle(id)
    while not player.is_done():
        player.turn()
    assert player.value == "too late"


@pytest.mark.parametrize("name", LOOPS)
def test_a_changed_call_of_a_task_is_found_before_it_is_made(
    rig: ExecutorRig, play: Play, name: LoopName
) -> None:
    called = "old"
    seen: list[str] = []

    async def part(ctx: Any) -> None:
        try:
            await ctx.rfc(called)
        except BaseException as error:
            seen.append(type(error).__name__)
            raise

    async def root(ctx: Any) -> None:
        await gather(name, lambda: part(ctx))

    first = play(name, root)
    while not first.waits:
        first.turn()
    history = list(first.promises.values())
    first.stop()
    seen.clear()
    called = "new"
    player = play(name, root, history=history)
    while not player.at_end():
        player.turn()
    assert player.ended is not None
    mismatch = player.ended.result.mismatch
    assert mismatch is not None
    assert "rpc old" in str(mismatch)
    assert "rpc new" in str(mismatch)
    assert not player.ended.result.commands
    assert seen == [], "the task could catch it, and go on"


@pytest.mark.parametrize("name", LOOPS)
def test_a_renamed_task_makes_no_calls_and_the_way_back_goes_on(play: Play, name: LoopName) -> None:
    async def buy(ctx: Any) -> None:
        for _ in range(2):
            with suppress(RuntimeError):
                await ctx.rfc("leaf")

    async def purchase(ctx: Any) -> None:
        await buy(ctx)

    tasks = [buy]

    async def root(ctx: Any) -> None:
        if name == "asyncio":
            await asyncio.gather(*(task(ctx) for task in 2 * tasks))
            return
        async with trio.open_nursery() as nursery:
            for task in 2 * tasks:
                nursery.start_soon(task, ctx)

    first = play(name, root)
    first.turn_until(lambda: first.waits)
    first.settle("root.buy-1.1")
    first.turn_until(lambda: "root.buy-1.2" in first.promises)
    history = list(first.promises.values())
    first.stop()
    tasks[:] = [purchase]
    changed = play(name, root, history=history)
    changed.turn_until(changed.at_end)
    assert changed.ended is not None
    mismatch = str(changed.ended.result.mismatch)
    assert re.search(r"as root\.purchase-\d\.1, in a task that the history does not", mismatch)
    assert list(changed.promises.values()) == history
    changed.stop()
    tasks[:] = [buy]
    back = play(name, root, history=history)
    while not back.is_done():
        if back.pending and back.waits:
            back.settle(back.pending[0])
        else:
            back.turn()
    assert set(back.promises) == {f"root.buy-{task}.{call}" for task in (1, 2) for call in (1, 2)}


def test_a_new_task_may_call_once_the_recorded_ones_have_begun(play: Play) -> None:
    async def early(ctx: Any) -> Any:
        return await ctx.rfc("leaf")

    async def late(ctx: Any) -> Any:
        return await ctx.rfc("leaf")

    async def root(ctx: Any) -> Any:
        first = asyncio.create_task(early(ctx)) if history else None
        for _ in range(5):
            await asyncio.sleep(0)
        second = asyncio.create_task(late(ctx))
        return [await (first or asyncio.create_task(early(ctx))), await second]

    history: list[PromiseRecord] = []
    player = play("asyncio", root)
    player.turn_until(lambda: "root.late-1.1" in player.promises)
    history.append(player.promises["root.late-1.1"])
    player.stop()
    again = play("asyncio", root, history=history)
    again.turn_until(lambda: "root.early-1.1" in again.promises)
    assert again.ended is None


@pytest.mark.parametrize("name", LOOPS)
def test_a_changed_call_under_a_scope_harms_no_other_run(
    rig: ExecutorRig, play: Play, name: LoopName
) -> None:
    called = "old"

    async def root(ctx: Any) -> None:
        if name == "asyncio":
            async with asyncio.timeout(3600), asyncio.TaskGroup():
                await ctx.rfc(called)
        with trio.move_on_after(3600):
            async with trio.open_nursery():
                await ctx.rfc(called)

    async def other(ctx: Any, number: int) -> str:
        return "fine"

    first = play(name, root)
    first.turn_until(lambda: first.waits)
    history = list(first.promises.values())
    first.stop()
    called = "new"
    player = play(name, root, history=history)
    player.turn_until(player.at_end)
    assert player.ended is not None
    assert player.ended.result.mismatch is not None
    player.routine.dropped = True
    player.loop.close(player.run)
    run = rig.run(other)
    run.routine.function.loop = name  # type: ignore[misc]
    player.loop.submit(run)
    assert rig.value(rig.take(1)[0]) == "fine"


@pytest.mark.parametrize("name", LOOPS)
def test_what_settles_before_there_are_tasks_is_known_to_them(play: Play, name: LoopName) -> None:
    begun, settled_meanwhile = threading.Event(), threading.Event()

    async def root(ctx: Any) -> str:
        promise = await ctx.rfi("leaf")
        await (asyncio.sleep(0) if name == "asyncio" else trio.sleep(0))
        begun.set()
        assert settled_meanwhile.wait(10)

        async def part() -> None:
            with suppress(RuntimeError):
                await promise

        await gather(name, part)
        return "done"

    player = play(name, root)
    player.turn_until(lambda: bool(player.pending))
    assert begun.wait(10)
    player.settle(player.pending[0])
    settled_meanwhile.set()
    player.turn_until(player.is_done)
    assert player.value == "done"


class Doer:
    """An object whose repr differs from process to process."""

    async def __call__(self, ctx: Any) -> None:
        await ctx.rfi("leaf")


class Attributes(dict[str, Any]):
    """A dict whose items are attributes, and that fails for others."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


@pytest.mark.parametrize("name", LOOPS)
def test_the_names_of_tasks_are_those_of_their_code(play: Play, name: LoopName) -> None:
    async def takes(attributes: Attributes, ctx: Any) -> None:
        await ctx.rfi("leaf")

    async def root(ctx: Any) -> None:
        if name == "asyncio":
            await asyncio.gather(Doer()(ctx), takes(Attributes(), ctx))
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Doer(), ctx)
                nursery.start_soon(takes, Attributes(), ctx)

    player = play(name, root)
    player.turn_until(lambda: len(player.promises) == 2)
    assert sorted(player.promises) == ["root.__call__-1.1", "root.takes-1.1"]


def test_a_refused_call_fails_the_task_that_awaits_it(play: Play) -> None:
    async def first(ctx: Any) -> str:
        await (await ctx.rfi("leaf").options(id="mine"))
        return "first"

    async def second(ctx: Any) -> str:
        request = ctx.rfi("other").options(id="mine")
        await asyncio.sleep(0.01)
        try:
            await request
        except CommandError as error:
            return f"refused {error.status}"
        return "second"

    async def third(ctx: Any) -> str:
        with suppress(RuntimeError):
            await ctx.rfc("leaf")
        return "third"

    async def root(ctx: Any) -> list[Any]:
        found = await asyncio.gather(first(ctx), second(ctx), third(ctx), return_exceptions=True)
        return [str(each) for each in found]

    player = play("asyncio", root)
    while not player.is_done():
        player.turn()
        for id in list(player.pending):
            player.settle(id)
    assert player.value[1:] == ["refused 409", "third"]


@pytest.mark.parametrize("name", LOOPS)
def test_a_drop_cancels_the_tasks(play: Play, name: LoopName) -> None:
    log: list[str] = []

    async def part(ctx: Any) -> None:
        try:
            await ctx.rfc("leaf")
        finally:
            log.append("task")

    async def root(ctx: Any) -> None:
        try:
            await gather(name, lambda: part(ctx), lambda: part(ctx))
        finally:
            log.append("root")

    player = play(name, root)
    while not player.waits:
        player.turn()
    player.routine.dropped = True
    player.loop.close(player.run)
    eventually(lambda: sorted(log) == ["root", "task", "task"])


@pytest.mark.parametrize("name", LOOPS)
def test_a_slot_is_lent_for_as_long_as_anything_in_the_run_waits(play: Play, name: str) -> None:
    gate = threading.Event()
    lent: list[str] = []

    def block() -> None:
        with while_lent():
            lent.append("thread")
            assert gate.wait(10)

    async def root(ctx: Any) -> int:
        in_thread = asyncio.to_thread if name == "asyncio" else trio.to_thread.run_sync
        with while_lent():
            await in_thread(block)
        return 3

    player = play(name, root)
    player.turn_until(lambda: player.waits)
    eventually(lambda: lent)
    assert not player.is_done()
    gate.set()
    player.turn_until(player.is_done)
    assert player.value == 3


def test_a_drop_cancels_tasks_that_nobody_waits_for(play: Play) -> None:
    log: list[str] = []

    async def lingers() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            log.append("task")

    async def root(ctx: Any) -> None:
        task = asyncio.create_task(lingers())
        await ctx.rfc("leaf")
        await task

    player = play("asyncio", root)
    player.turn_until(lambda: player.waits)
    player.routine.dropped = True
    player.loop.close(player.run)
    eventually(lambda: log == ["task"])


def test_tasks_left_behind_are_canceled_and_may_not_call(play: Play) -> None:
    log: list[str] = []

    async def lingers(ctx: Any) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            try:
                await ctx.rfc("leaf")
            except RequestError as error:
                log.append(str(error))

    async def root(ctx: Any) -> str:
        task = asyncio.create_task(lingers(ctx))
        await asyncio.sleep(0)
        assert not task.done()
        return "done"

    player = play("asyncio", root)
    while not player.is_done():
        player.turn()
    assert player.value == "done"
    eventually(lambda: log)
    assert "left behind" in log[0]
    assert not player.promises


def test_a_call_in_a_callback_is_refused(play: Play) -> None:
    caught: list[BaseException] = []

    def callback(ctx: Any) -> None:
        try:
            ctx.rfc("leaf")
        except RequestError as error:
            caught.append(error)

    async def other(ctx: Any) -> None:
        await asyncio.sleep(0)

    async def root(ctx: Any) -> None:
        task = asyncio.create_task(other(ctx))
        asyncio.get_running_loop().call_soon(callback, ctx)
        await task
        await asyncio.sleep(0)

    player = play("asyncio", root)
    while not player.is_done():
        player.turn()
    assert "outside of its own tasks" in str(caught[0])


def test_a_request_awaited_by_nobodys_task_is_refused(play: Play) -> None:
    async def foreign(request: Any) -> None:
        await request

    async def root(ctx: Any) -> str:
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        request = ctx.rfi("leaf")

        def start() -> None:
            task = asyncio.get_running_loop().create_task(foreign(request))
            task.add_done_callback(lambda task: done.set_result(str(task.exception())))

        asyncio.get_running_loop().call_soon(start)
        return await done

    player = play("asyncio", root)
    while not player.is_done():
        player.turn()
        for id in list(player.pending):
            player.settle(id)
    assert "in a task that its durable function has not started" in player.value


@pytest.mark.parametrize("name", LOOPS)
def test_tasks_do_not_outrun_the_broker(play: Play, name: LoopName) -> None:
    count = UNANSWERED_MAX + 500

    async def part(ctx: Any) -> None:
        await ctx.rfi("leaf")

    async def root(ctx: Any) -> None:
        await gather(name, *(lambda: part(ctx) for _ in range(count)))

    player = play(name, root)
    player.answers = False
    eventually(
        lambda: player.rig.results and player.turn() and len(player.promises) > UNANSWERED_MAX
    )
    quiet = threading.Event()
    player.loop.call_after(50, quiet.set)
    assert quiet.wait(10)
    while player.rig.results:
        player.turn()
    assert len(player.promises) == UNANSWERED_MAX + 1
    player.answers = True
    player.routine.answered(len(player.promises))
    while len(player.promises) < count:
        player.turn()


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt(), OSError("no")])
def test_a_task_that_ends_the_process_only_fails_its_run(play: Play, error: BaseException) -> None:
    async def part() -> None:
        raise error

    async def root(ctx: Any) -> str:
        try:
            await asyncio.create_task(part())
        except BaseException as caught:
            return type(caught).__name__
        return "nothing"

    player = play("asyncio", root)
    while not player.is_done():
        player.turn()
    assert player.value == type(error).__name__


@pytest.mark.parametrize("name", LOOPS)
def test_tasks_have_their_own_variables(play: Play, name: LoopName) -> None:
    async def part(ctx: Any, mine: str) -> str:
        NAME.set(mine)
        await ctx.rfi("leaf")
        return NAME.get()

    async def root(ctx: Any) -> list[str]:
        NAME.set("root")
        names = await gather(name, lambda: part(ctx, "a"), lambda: part(ctx, "b"))
        return [*names, NAME.get()]

    player = play(name, root)
    while not player.is_done():
        player.turn()
        for id in list(player.pending):
            player.settle(id)
    assert player.value == ["a", "b", "root"]


def test_a_failed_task_without_calls_is_tried_again(play: Play) -> None:
    async def part() -> None:
        raise OSError("down")

    async def calls(ctx: Any) -> None:
        await ctx.rfi("leaf")
        raise OSError("down")

    async def without(ctx: Any) -> None:
        await asyncio.gather(part())

    async def with_calls(ctx: Any) -> None:
        await asyncio.gather(calls(ctx))

    for fn, retried in ((without, True), (with_calls, False)):
        player = play("asyncio", fn, retry=Constant(1, 5))
        while not player.at_end() or not (retried or player.is_done()):
            player.turn()
            for id in list(player.pending):
                player.settle(id)
        assert player.ended is not None
        assert (player.ended.result.retry_after_s is not None) == retried
