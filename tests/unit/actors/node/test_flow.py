"""Answers to fences, as the flow control of a run counts them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.actors.node.scenario import Scenario
from tests.unit.actors.node.world import START
from understudy_actors.activation import StepReport
from understudy_actors.interpreter import routine as routine_module


class TestFlow:
    def test_a_pause_that_ends_before_its_step_is_reported(
        self, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All answers are in before the node hears that the function had paused for them."""
        monkeypatch.setattr(routine_module, "UNANSWERED_MAX", 300)
        monkeypatch.setattr(routine_module, "UNANSWERED_LOW", 100)

        def many(ctx: Any) -> Any:
            for n in range(600):
                yield ctx.rfi("leaf", n)

        scenario.env.registry.register(many)
        scenario.world.invoke("x", "many")
        scenario.node.deliver_in()
        run = scenario.node.executor.queue.pop()
        parts: list[Any] = []
        run.routine.flush = lambda output: parts.append(StepReport(run, output, False))
        last = StepReport(run, run.routine.step(START))
        states = [run.routine.paused]
        scenario.node.core.stepped(parts, START)
        while scenario.node.out:
            scenario.node.deliver_out()
        while scenario.node.inbox:
            scenario.node.deliver_in()
        states.append(run.routine.paused)
        assert states == [True, False]
        run.routine.flush = None
        scenario.node.core.stepped([last], START)
        scenario.world.finish("x")
        assert len(scenario.ran) == 600

    def test_settles_of_local_calls_do_not_count_as_answers(self, scenario: Scenario) -> None:
        scenario.world.invoke("x", "local", 10)
        scenario.node.deliver_in()
        run = scenario.node.core.activations["x"].root
        assert run is not None
        scenario.world.finish("x")
        assert run.routine.sent == run.routine._answered == 10
