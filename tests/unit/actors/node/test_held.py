"""Activations whose coroutine has started tasks: they wait without credit, and keep the lease.

The event loop is played by the test, which reports what the loop would.
"""

from __future__ import annotations

import pytest

from tests.unit.actors.node.scenario import CONFIG, Scenario
from understudy_actors.activation import Activation, Phase, Run, StepReport
from understudy_actors.interpreter.step_result import StepResult
from understudy_actors.node import state


class Loop:
    """Plays the loop for the call ``leaf``: its run neither ends nor is stepped before `finish`."""

    def __init__(self, scenario: Scenario, id: str) -> None:
        self.scenario = scenario
        self.id = id
        scenario.world.invoke(id, "leaf", 1)
        while scenario.node.inbox:
            scenario.node.deliver_in()

    @property
    def activation(self) -> Activation:
        return self.scenario.node.core.activations[self.id]

    @property
    def run(self) -> Run:
        assert self.activation.root is not None
        return self.activation.root

    def report(self, *, waits: bool = False, final: bool = False) -> None:
        report = StepReport(self.run, StepResult(), final, waits=waits)
        self.scenario.node.core.stepped([report], self.scenario.world.now)
        self.scenario.node.core.grant()

    def finish(self) -> None:
        node = self.scenario.node
        node.run_one(node.executor.queue.index(self.run))
        while node.out or node.inbox:
            (node.deliver_out if node.out else node.deliver_in)()


class TestHeld:
    def test_a_run_that_waits_uses_no_credit(self, scenario: Scenario) -> None:
        loop = Loop(scenario, "x")
        assert scenario.node.core.running == 1
        for waits in (True, True, False, False, True):
            loop.report(waits=waits)
            assert scenario.node.core.running == 1 - waits
            assert loop.activation.phase is (Phase.HELD if waits else Phase.RUNNING)

    def test_the_lease_is_kept_for_as_long_as_it_waits(self, scenario: Scenario) -> None:
        loop = Loop(scenario, "x")
        loop.report(waits=True)
        scenario.node.core.tick(scenario.world.now + 100 * CONFIG.linger_ms)
        assert loop.activation.phase is Phase.HELD
        assert scenario.node.core.claims() == (("x", 1),)
        assert scenario.task_state == "acquired"

    def test_it_may_end_while_it_waits(self, scenario: Scenario) -> None:
        loop = Loop(scenario, "x")
        loop.report(waits=True)
        loop.finish()
        assert scenario.value(scenario.world.finish("x")) == 2
        assert scenario.node.core.running == 0

    def test_so_many_are_held_and_further_ones_are_given_back_for_a_while(
        self, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(state, "HELD_MAX", 1)
        first, second = Loop(scenario, "x"), Loop(scenario, "y")
        first.report(waits=True)
        second.report(waits=True)
        assert first.activation.phase is Phase.HELD
        assert list(scenario.node.core.activations) == ["x"], "it would use credit, and wait"
        assert scenario.node.core.running == 0
        first.finish()
        third = Loop(scenario, "z")
        third.report(waits=True)
        assert third.activation.phase is Phase.HELD
        assert scenario.value(scenario.world.finish("y")) == 2, "it is tried again later"

    def test_a_node_that_leaves_gives_it_to_another(self, scenario: Scenario) -> None:
        loop = Loop(scenario, "x")
        loop.report(waits=True)
        run = loop.run
        scenario.node.core.stop_serving()
        assert scenario.node.executor.closed == [run]
        assert scenario.node.core.holding == 0
        scenario.node.sent = scenario.node.total
        scenario.world.add_node()
        assert scenario.value(scenario.world.finish("x")) == 2

    def test_a_wait_may_be_interrupted_after_the_step_has_ended(self, scenario: Scenario) -> None:
        loop = Loop(scenario, "x")
        for _ in range(2):
            loop.report(final=True)
            assert scenario.node.core.running == 0
            loop.report()
            assert scenario.node.core.running == 1
        loop.finish()
        assert scenario.value(scenario.world.finish("x")) == 2
