"""Tasks that went to another node: late results, refused fences, revocations."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from tests.unit.actors.node.scenario import CONFIG, Scenario
from tests.unit.actors.node.world import START
from understudy_actors.activation import StepReport
from understudy_broker.protocol.messages import Resume
from understudy_store.commands import (
    PromiseCreate,
    PromiseSettle,
    TaskHalt,
)
from understudy_store.records import TAG_EXTERNAL, Value


class TestLostTasks:
    def lapse(self, scenario: Scenario) -> None:
        """The lease of `x` goes to a second node."""
        scenario.node.sent = scenario.node.total
        scenario.world.machine.release_pid(scenario.node.pid, scenario.world.now)
        second = scenario.world.add_node()
        scenario.world.settle()
        assert scenario.world.machine.view.held(second.pid) == [("x", 2)]

    def test_a_late_result_is_ignored(self, scenario: Scenario) -> None:
        scenario.world.invoke("x", "leaf", 1)
        scenario.node.deliver_in()
        self.lapse(scenario)
        scenario.node.run_one()
        scenario.node.deliver_out()
        assert scenario.task_state == "acquired", "the fulfil of the late one is refused"
        scenario.world.settle_down()
        assert scenario.node.core.activations == {}
        assert scenario.value(scenario.world.finish("x")) == 2
        assert scenario.node.core.statistics().running == 0

    def test_a_late_result_is_not_the_next_versions(self, scenario: Scenario) -> None:
        scenario.world.invoke("x", "leaf", 1)
        scenario.node.deliver_in()
        late = scenario.node.executor.queue.pop()
        output = late.routine.step(START)
        promise = scenario.node.core.activations["x"].promise
        scenario.node.core.receive([Resume(promise, 2, [])], START, scenario.node)
        scenario.node.core.stepped([StepReport(late, output)], START)
        assert scenario.node.unanswered == []
        assert scenario.node.core.statistics().running == 1
        assert scenario.node.core.statistics().done == 0

    def test_a_refused_fence_drops_the_activation(self, scenario: Scenario) -> None:
        scenario.world.invoke("x", "person")
        scenario.node.deliver_in()
        self.lapse(scenario)
        first = scenario.node
        first.run_one()
        while first.out or first.inbox or first.executor.queue:
            if first.out:
                first.deliver_out()
            elif first.inbox:
                first.deliver_in()
            else:
                first.run_one()
        assert first.core.activations == {}
        assert first.core.statistics().running == 0
        assert first.core.statistics().failed == 0, "the task is another node's, and has not failed"
        scenario.world.settle_down()
        scenario.settle("person", "yes")
        assert scenario.value(scenario.world.finish("x")) == "yes"

    def test_a_revocation_drops_and_closes(self, scenario: Scenario) -> None:
        scenario.world.invoke("x", "person")
        scenario.world.rest(0)
        run = scenario.node.core.activations["x"].root
        assert run is not None
        scenario.world.machine.apply(TaskHalt("x"), scenario.world.now)
        scenario.world.settle()
        scenario.world.settle_down()
        assert scenario.node.core.activations == {}
        assert scenario.node.executor.closed == [run]
        assert not run.routine.alive

    def test_a_run_whose_step_ended_before_the_drop_is_closed(self, scenario: Scenario) -> None:
        """The step's result is on its way when the activation is dropped: nobody else would."""
        scenario.world.invoke("x", "person")
        scenario.node.deliver_in()
        run = scenario.node.executor.queue.pop()
        output = run.routine.step(START)
        scenario.node.core.state.drop(scenario.node.core.activations["x"])
        assert run.routine.alive
        scenario.node.core.stepped([StepReport(run, output)], START)
        assert not run.routine.alive

    def test_a_foreign_promise_does_not_wake_a_dropped_run(self, scenario: Scenario) -> None:
        def waits(ctx: Any) -> Any:
            return (yield ctx.promise(id="shared"))

        scenario.env.registry.register(waits)
        tags = {TAG_EXTERNAL: "true"}
        create = PromiseCreate("shared", START + 10_000_000, Value({"kind": "promise"}), tags)
        scenario.world.machine.apply(create, START)
        scenario.world.invoke("x", "waits")
        scenario.world.rest(0)
        scenario.world.machine.apply(TaskHalt("x"), START)
        scenario.world.settle()
        scenario.world.settle_down()
        scenario.settle("shared", 1)
        scenario.world.settle_down()
        assert scenario.node.core.statistics().running == 0
        assert scenario.node.executor.queue == []


class TestBlocks:
    """The blocks of a function run if its call is over, and not if it goes on elsewhere."""

    @pytest.fixture
    def ran(self, scenario: Scenario) -> list[str]:
        def person(ctx: Any) -> Any:
            try:
                yield (yield ctx.promise(id="person"))
            finally:
                ran.append(ctx.id)

        ran: list[str] = []
        scenario.env.registry.register(person, replace=True)
        scenario.world.invoke("x", "person")
        scenario.world.rest(0)
        return ran

    def close(self, scenario: Scenario) -> None:
        """Close what was dropped, as a worker does."""
        scenario.world.settle_down()
        gc.collect()
        assert scenario.node.core.activations == {}

    @pytest.mark.parametrize("state", ["rejected_canceled", "rejected", "resolved"])
    def test_settled_by_somebody_else(self, scenario: Scenario, ran: list[str], state: str) -> None:
        scenario.world.machine.apply(PromiseSettle("x", state), scenario.world.now)
        scenario.world.settle()
        self.close(scenario)
        assert ran == ["x"]

    def test_halted(self, scenario: Scenario, ran: list[str]) -> None:
        scenario.world.machine.apply(TaskHalt("x"), scenario.world.now)
        scenario.world.settle()
        self.close(scenario)
        assert ran == []

    def test_the_connection_is_lost_while_it_is_suspended(
        self, scenario: Scenario, ran: list[str]
    ) -> None:
        scenario.world.rest(CONFIG.linger_ms)
        scenario.node.cut()
        self.close(scenario)
        assert ran == []

    def test_evicted(self, scenario: Scenario, ran: list[str]) -> None:
        scenario.world.rest(CONFIG.linger_ms)
        state = scenario.node.core.state
        state.drop(state.activations["x"])
        self.close(scenario)
        assert ran == []

    def test_the_node_ends(self, scenario: Scenario, ran: list[str]) -> None:
        scenario.node.core.state.set_all_aside()
        gc.collect()
        assert ran == []
