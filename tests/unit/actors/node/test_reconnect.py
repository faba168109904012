"""A new session: claims, settlements that were missed, watches, credit."""

from __future__ import annotations

from typing import Any

from tests.unit.actors.node.scenario import Scenario
from tests.unit.actors.node.world import START
from understudy_store.commands import (
    PromiseCreate,
)
from understudy_store.records import TAG_EXTERNAL, Value


class TestReconnect:
    def test_claimed_tasks_are_kept_and_catch_up(self, scenario: Scenario) -> None:
        scenario.world.invoke("x", "person")
        scenario.world.rest(0)
        scenario.node.cut()
        scenario.settle("person", "yes")
        assert scenario.node.core.claims() == (("x", 1),)
        scenario.node.join()
        assert scenario.value(scenario.world.finish("x")) == "yes"
        assert scenario.ran["x"] == 1

    def test_missed_settlements_are_requested_at_once(self, scenario: Scenario) -> None:
        scenario.world.invoke("x", "person")
        scenario.world.rest(0)
        scenario.node.cut()
        scenario.settle("person", "yes")
        scenario.node.join()
        scenario.world.settle_down()
        assert scenario.world.record("x").settled, "before it has lingered"

    def test_only_leases_are_claimed(self, scenario: Scenario) -> None:
        scenario.suspended()
        assert scenario.node.core.claims() == ()

    def test_what_was_suspended_under_another_broker_is_dropped(self, scenario: Scenario) -> None:
        """Its slot has come to this broker, which does not know who keeps it warm."""
        scenario.suspended()
        assert scenario.node.core.activations
        scenario.node.core.connected((), reconnected=True)
        assert not scenario.node.core.activations

    def test_lost_claims_are_dropped(self, scenario: Scenario) -> None:
        scenario.world.invoke("x", "person")
        scenario.world.rest(0)
        scenario.node.cut()
        scenario.world.machine.release_pid(scenario.node.pid, START)
        scenario.world.settle()
        scenario.node.join()
        assert scenario.node.core.activations == {}
        scenario.world.settle_down()
        scenario.settle("person", "yes")
        assert scenario.value(scenario.world.finish("x")) == "yes"
        assert scenario.ran["x"] == 2
        assert scenario.ran["x.1"] == 1

    def test_a_claim_that_is_lost_says_nothing_of_a_later_version(self, scenario: Scenario) -> None:
        """A broker that has the slot by now has handed the task out again meanwhile."""
        scenario.world.invoke("x", "person")
        scenario.world.rest(0)
        [activation] = scenario.node.core.activations.values()
        activation.version = 2
        scenario.node.core.connected([("x", 1)], reconnected=True)
        assert scenario.node.core.activations == {"x": activation}
        scenario.node.core.connected([("x", 2)], reconnected=True)
        assert scenario.node.core.activations == {}

    def test_unanswered_requests_go_out_again(self, scenario: Scenario) -> None:
        scenario.world.invoke("x", "leaf", 1)
        scenario.node.deliver_in()
        scenario.node.run_one()
        scenario.node.deliver_out()
        scenario.node.cut()
        scenario.node.join()
        scenario.world.settle_down()
        assert scenario.node.core.activations == {}
        assert scenario.node.unanswered == []

    def test_suspended_activations_are_dropped_with_the_connection(
        self, scenario: Scenario
    ) -> None:
        scenario.suspended()
        scenario.node.cut()
        assert scenario.node.core.activations == {}
        scenario.node.join()
        scenario.settle("person", "yes")
        assert scenario.value(scenario.world.finish("x")) == "yes"
        assert scenario.ran["x"] == 2

    def test_foreign_promises_are_watched_again(self, scenario: Scenario) -> None:
        def waits(ctx: Any) -> Any:
            promise = yield ctx.promise(id="shared")
            return (yield promise)

        scenario.env.registry.register(waits)
        create = PromiseCreate("shared", START + 10**7, Value({}), {TAG_EXTERNAL: "true"})
        scenario.world.machine.apply(create, START)
        scenario.world.invoke("x", "waits")
        scenario.world.rest(0)
        scenario.node.cut()
        scenario.node.join()
        scenario.world.settle_down()
        assert "shared" in scenario.node.watches
        scenario.settle("shared", 4)
        assert scenario.value(scenario.world.finish("x")) == 4

    def test_credit_announced_without_a_session_is_announced_again(
        self, scenario: Scenario
    ) -> None:
        """Credit announced between hello and welcome is lost, and announced anew by the core."""
        for n in range(4):
            scenario.world.invoke(f"x{n}", "leaf", n)
        while scenario.node.inbox:
            scenario.node.deliver_in()
        scenario.node.cut()
        core = scenario.node.core
        assert core.new_session(scenario.node) == 0, "all four slots are taken"
        for _ in range(4):
            scenario.node.run_one()
        assert core.statistics().credit == 0, "nobody has heard of it"
        scenario.node.connected = True
        core.grant()
        assert core.statistics().credit == 4
