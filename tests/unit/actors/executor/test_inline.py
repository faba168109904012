"""Quick plain functions, performed in the step of their caller."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

from tests.unit.actors.executor.rig import ExecutorRig
from tests.unit.actors.interpreter.harness import START, settled
from understudy.retry import Constant
from understudy_actors.executor import WorkerPool
from understudy_actors.executor.inline import QUICK_S
from understudy_store.records import Value


def test_a_quick_function_is_performed_within_the_step_of_its_caller(
    rig: ExecutorRig, pool: WorkerPool
) -> None:
    outcomes: Iterator[Any] = iter([1, 2, ValueError("no")])

    def leaf(ctx: Any) -> Any:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def fn(ctx: Any, n: int) -> Generator[Any, Any, None]:
        for _ in range(3):
            yield ctx.lfc(leaf)

    function = rig.env.registry.register(leaf, retry=Constant())
    run = rig.run(fn)
    assert pool._costs.is_quick(function) is False, "not before it was measured"
    pool._costs.observe(function, 0.0)
    ended = []
    for _ in range(3):
        pool.submit(run)
        [result] = rig.take(1)
        [start] = result.result.locals
        ended.append(result.inlined)
        run.routine.learn(settled(start.record, "resolved", Value({}, None), START))
        run.scheduled = True
        pool._costs.observe(function, 0.0)
    assert [e[1].done is not None for e in ended if e] == [True, True, False]
    last = ended[-1]
    assert last is not None
    # The node waits and tries again, as after any other step.
    assert last[1].retry_after_s is not None
    assert str(last[1].retry_error) == "no"


def test_a_slow_function_gets_a_step_of_its_own(rig: ExecutorRig, pool: WorkerPool) -> None:
    def leaf(ctx: Any) -> None: ...

    def fn(ctx: Any, n: int) -> Generator[Any, Any, None]:
        yield ctx.lfc(leaf)

    pool._costs.observe(rig.env.registry.register(leaf), 2 * QUICK_S)
    pool.submit(rig.run(fn))
    [result] = rig.take(1)
    assert len(result.result.locals) == 1
    assert result.inlined is None


def test_calls_that_are_awaited_together_are_not_inlined(
    rig: ExecutorRig, pool: WorkerPool
) -> None:
    def leaf(ctx: Any) -> None: ...

    def fn(ctx: Any, n: int) -> Generator[Any, Any, None]:
        one = yield ctx.lfi(leaf)
        two = yield ctx.lfi(leaf)
        yield ctx.all([one, two])

    pool._costs.observe(rig.env.registry.register(leaf), 0.0)
    pool.submit(rig.run(fn))
    [result] = rig.take(1)
    assert len(result.result.locals) == 2
    assert result.inlined is None
