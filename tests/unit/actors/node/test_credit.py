"""Credit: the room that a node announces."""

from __future__ import annotations

from tests.unit.actors.node.scenario import Scenario
from understudy_actors.node.credit import CreditPolicy


class TestCredit:
    def test_the_target_follows_the_mean_duration_of_steps(self) -> None:
        policy = CreditPolicy(slots=8, ahead_ms=5.0, ahead_max=100)
        assert policy.target == 8
        policy.observe(1000, 50.0)
        assert policy.target == 8 + 100
        policy.observe(0, 5.0)
        for _ in range(60):
            policy.observe(1, 2.5)
        assert policy.target == 8 + 2
        policy.observe_stuck(500)
        assert policy.target == 8
        policy.observe_stuck(1)
        assert policy.target == 8, "a moment's wait does not make long calls short"

    def test_credit_never_exceeds_the_room(self, scenario: Scenario) -> None:
        for n in range(50):
            scenario.world.invoke(f"x{n}", "leaf", n)
        assert scenario.node.sent == 4
        scenario.node.deliver_in()
        assert scenario.node.core.statistics().running == 1
        for n in range(50):
            scenario.world.finish(f"x{n}")
        assert scenario.node.sent == 50
        assert scenario.node.core.statistics().running == 0
        assert scenario.node.core.statistics().credit == 4

    def test_a_node_that_does_not_serve_announces_no_credit(self, scenario: Scenario) -> None:
        scenario.node.core.stop_serving()
        assert scenario.node.core.new_session(scenario.node) == 0

    def test_a_lent_slot_is_room_for_one_more(self, scenario: Scenario) -> None:
        node = scenario.node
        for n in range(6):
            scenario.world.invoke(f"x{n}", "leaf", n)
        assert node.sent == 4
        node.core.credit.lent = 1
        node.core.credit.grant()
        node.deliver_out()
        scenario.world.dispatch()
        assert node.sent == 5
        node.core.credit.lent = 0
        node.core.credit.grant()
        scenario.world.dispatch()
        assert node.sent == 5, "what was announced stays announced"
