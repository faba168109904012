"""Flow control of long steps, and awaits of an event loop's own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.actors.interpreter.harness import (
    ROOT,
    START,
    Harness,
    double,
    environment,
)
from understudy_actors.interpreter import routine as routine_module
from understudy_actors.interpreter.routine import Routine
from understudy_actors.interpreter.step_result import StepResult


class TestFlow:
    def test_a_function_with_too_many_unanswered_calls_pauses(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(routine_module, "UNANSWERED_MAX", 512)
        monkeypatch.setattr(routine_module, "UNANSWERED_LOW", 256)

        def fn(ctx: Any) -> Any:
            for n in range(3000):
                yield ctx.rfi("a", n)

        env = environment()
        record = Harness(double, 1, env=env).root.record
        handed: list[StepResult] = []
        routine = Routine(
            env,
            env.registry.register(fn),
            record,
            origin=ROOT,
            branch=ROOT,
            flush=lambda result: handed.append(result),
        )
        sent = answered = 0
        for _ in range(100):
            result = routine.step(START)
            new = sum(len(o.commands) for o in [*handed, result])
            handed.clear()
            sent += new
            assert sent - answered <= 512 + routine_module.FLUSH_COMMANDS
            if not routine.paused:
                break
            assert routine.step(START).commands == []
            runnable = [routine.runnable]
            while not routine.runnable:
                routine.answered(1)
                answered += 1
            runnable.append(routine.runnable)
            assert runnable == [False, True]
        assert sent == 3000
        assert routine.calls.wake_on(routine.wait), "it waits for its children"

    def test_other_awaits_of_a_coroutine_are_passed_to_its_loop(self) -> None:
        async def fn(ctx: Any) -> Any:
            await asyncio.sleep(0)
            try:
                await asyncio.sleep(0)
            except OSError:
                return await ctx.rfc("a")

        harness = Harness(fn)
        routine = harness.root
        assert routine.alive
        result = routine.answer_trap(None)
        assert result.done is None
        result = routine.answer_trap(error=OSError())
        assert [c.id for c in result.commands] == ["root.1"]

    def test_an_event_loop_may_interrupt_a_wait(self) -> None:
        async def fn(ctx: Any) -> Any:
            try:
                await ctx.rfc("a")
            except TimeoutError:
                return "too late"

        harness = Harness(fn)
        result = harness.root.answer_trap(error=TimeoutError())
        assert result.done is None
        harness.resolve("root.1")
        assert harness.result == "too late"
