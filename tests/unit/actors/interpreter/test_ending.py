"""The end of a run: after its children, within its deadline, with clean-up."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from tests.unit.actors.interpreter.harness import (
    ROOT,
    START,
    Harness,
    creates,
    double,
    environment,
)
from understudy_actors.interpreter.routine import Routine
from understudy_store.commands import PromiseCreate


class TestEnding:
    def test_a_run_does_not_settle_before_its_children(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.rfi("a")
            yield ctx.detached("b")
            yield ctx.rfi("c")
            raise LookupError("done")

        harness = Harness(fn)
        harness.resolve("root.3")
        assert harness.outcome is None
        harness.reject("root.1", OSError("unseen"))
        with pytest.raises(LookupError, match="done"):
            _ = harness.result

    def test_no_deadline_exceeds_the_parents(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.rfi("a").options(timeout=100)
            yield ctx.lfi(double, 1).options(timeout=0.5)
            yield ctx.promise(timeout=100)
            yield ctx.sleep(100)

        harness = Harness(fn, timeout_at=START + 1000)
        assert [c.timeout_at - START for c in creates(harness)] == [1000, 500, 1000, 1000]

    def test_a_deadline_counts_from_the_call_and_not_from_the_step(self) -> None:
        def fn(ctx: Any) -> Any:
            clock[0] += 10_000
            yield ctx.sleep(1)

        clock = [START]
        env = environment()
        function = env.registry.register(fn)
        harness = Harness(double, 1, env=env)
        routine = Routine(env, function, harness.root.record, origin=ROOT, branch=ROOT)
        routine.calls.clock = lambda: clock[0]
        (create,) = routine.step(START).commands
        assert isinstance(create, PromiseCreate)
        assert create.timeout_at == START + 11_000

    def test_nothing_runs_if_the_call_goes_on_elsewhere(self) -> None:
        """Neither at once, nor when the garbage collector finds the generators."""

        class Blocks:
            def __enter__(self) -> None: ...
            def __exit__(self, *error: object) -> None:
                ran.append("exit")

        def inner(ctx: Any) -> Any:
            try:
                yield ctx.rfc("a")
            except BaseException:
                ran.append("except")
                raise

        def fn(ctx: Any) -> Any:
            try:
                with Blocks():
                    yield from inner(ctx)
            finally:
                ran.append("finally")

        ran: list[str] = []
        harness = Harness(fn)
        harness.root.close()
        assert harness.root.dropped
        assert not harness.root.is_over
        del harness
        gc.collect()
        assert ran == []

    def test_a_mismatch_runs_nothing_either(self) -> None:
        def old(ctx: Any) -> Any:
            yield ctx.rfc("a")

        def new(ctx: Any) -> Any:
            try:
                yield ctx.rfc("b")
            finally:
                ran.append("finally")

        ran: list[str] = []
        recorded = Harness(old)
        assert Harness(new, records=recorded.promises.values()).mismatch is not None
        gc.collect()
        assert ran == []

    def test_close_runs_the_clean_up_code(self) -> None:
        def fn(ctx: Any) -> Any:
            try:
                yield ctx.map("f", [1])
            finally:
                closed.append(1)

        closed: list[int] = []
        harness = Harness(fn)
        alive = [harness.root.alive]
        harness.root.is_over = True
        harness.root.close()
        alive.append(harness.root.alive)
        assert closed == [1]
        assert alive == [True, False]
        assert harness.root.dropped
