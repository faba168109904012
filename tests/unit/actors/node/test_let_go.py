"""A node says of each task when it has given up the lease, and not before the broker knows."""

from __future__ import annotations

from tests.unit.actors.node.scenario import CONFIG, Scenario


class TestLetGo:
    def watch(self, scenario: Scenario) -> list[tuple[str, int]]:
        told: list[tuple[str, int]] = []
        scenario.node.core.state.on_let_go = lambda id, version: told.append((id, version))
        return told

    def test_a_task_that_is_performed(self, scenario: Scenario) -> None:
        told = self.watch(scenario)
        scenario.world.invoke("x", "leaf", 1)
        scenario.node.deliver_in()
        scenario.node.run_one()
        assert told == [], "the result is on its way"
        scenario.world.settle_down()
        assert told == [("x", 1)]
        assert scenario.task_state == "fulfilled"

    def test_a_task_that_is_suspended_and_resumed(self, scenario: Scenario) -> None:
        told = self.watch(scenario)
        scenario.world.invoke("x", "person")
        scenario.world.rest(0)
        assert told == [], "it lingers"
        scenario.world.rest(CONFIG.linger_ms)
        assert (scenario.task_state, told) == ("suspended", [("x", 1)])
        scenario.settle("person", "yes")
        scenario.world.finish("x")
        assert told == [("x", 1), ("x", 2)]

    def test_a_task_that_is_tried_again_later(self, scenario: Scenario) -> None:
        told = self.watch(scenario)
        scenario.world.invoke("x", "flaky", 1)
        scenario.world.settle_down()
        assert (scenario.task_state, told) == ("pending", [("x", 1)])
        scenario.world.finish("x")
        assert told == [("x", 1), ("x", 2)]

    def test_a_task_whose_lease_was_lost(self, scenario: Scenario) -> None:
        told = self.watch(scenario)
        scenario.world.invoke("x", "leaf", 1)
        scenario.node.deliver_in()
        scenario.world.machine.release_pid(scenario.node.pid, scenario.world.now)
        scenario.node.run_one()
        scenario.node.deliver_out()
        scenario.node.deliver_in()
        assert told == [("x", 1)]
