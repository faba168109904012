"""A node that gives its work back and takes no more."""

from __future__ import annotations

from tests.unit.actors.node.scenario import Scenario


class TestLeaving:
    def test_tasks_that_have_not_begun_are_given_back(self, scenario: Scenario) -> None:
        for n in range(3):
            scenario.world.invoke(f"x{n}", "leaf", n)
        while scenario.node.inbox:
            scenario.node.deliver_in()
        scenario.node.core.stop_serving()
        assert scenario.node.core.give_back() == 3
        assert scenario.node.core.holding == 0
        assert scenario.node.core.statistics().running == 0
        scenario.node.sent = scenario.node.total
        scenario.world.add_node()
        for n in range(3):
            assert scenario.value(scenario.world.finish(f"x{n}")) == n + 1
        assert scenario.node.core.statistics().done == 0

    def test_a_node_that_gave_everything_back_asks_for_work(self, scenario: Scenario) -> None:
        for n in range(200):
            scenario.world.invoke(f"x{n}", "leaf", n)
        while scenario.node.inbox:
            scenario.node.deliver_in()
        core = scenario.node.core
        assert core.statistics().credit == 0
        # No step ends and no message arrives that would make it ask for work.
        assert core.give_back() == 200 - len(scenario.world.queue)
        assert core.statistics().credit > 0

    def test_a_resumed_activation_that_is_given_back_is_closed(self, scenario: Scenario) -> None:
        scenario.suspended()
        run = scenario.node.core.activations["x"].root
        assert run is not None
        scenario.settle("person", "yes")
        while scenario.node.inbox:
            scenario.node.deliver_in()
        assert scenario.node.core.give_back() == 1
        assert not run.routine.alive
        assert scenario.value(scenario.world.finish("x")) == "yes"

    def test_stop_serving_suspends_waiting_activations_at_once(self, scenario: Scenario) -> None:
        scenario.world.invoke("x", "person")
        scenario.world.rest(0)
        scenario.node.core.stop_serving()
        scenario.world.settle_down()
        assert scenario.task_state == "suspended"
        assert scenario.node.core.holding == 0
