"""Waits: the linger, the suspend, and the resume on this node or another."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.actors.node.scenario import CONFIG, Scenario
from understudy_actors.activation import Phase
from understudy_actors.errors import CommandError
from understudy_actors.node.config import NodeConfig
from understudy_broker.protocol.messages import Refused, Resume
from understudy_store.commands import (
    PromiseCancel,
    TaskPreload,
    TaskSuspend,
)
from understudy_store.records import CANCELED


def _sleeper(ctx: Any) -> Any:
    yield ctx.sleep(5)
    return "awake"


class TestSuspension:
    def test_a_short_wait_keeps_the_lease(self, scenario: Scenario) -> None:
        scenario.world.invoke("x", "person")
        scenario.world.rest(0)
        assert scenario.task_state == "acquired"
        assert scenario.node.core.activations["x"].phase is Phase.WAITING
        scenario.settle("person", "yes")
        assert scenario.value(scenario.world.finish("x")) == "yes"
        assert scenario.ran["x"] == 1

    def test_a_long_wait_is_suspended_and_resumed_warm(self, scenario: Scenario) -> None:
        scenario.suspended()
        scenario.settle("person", "yes")
        assert isinstance(scenario.node.inbox[-1], Resume)
        assert scenario.node.inbox[-1].preload is None
        assert scenario.value(scenario.world.finish("x")) == "yes"
        assert scenario.ran["x"] == 1, "not replayed"

    def test_another_node_replays_from_the_preload(self, scenario: Scenario) -> None:
        scenario.suspended()
        other = scenario.world.add_node()
        scenario.world.crash(scenario.node)
        scenario.settle("person", "yes")
        message = other.inbox[-1]
        assert isinstance(message, Resume)
        assert message.preload is not None
        assert [r.id for r in message.preload] == ["x.1", "person"]
        assert scenario.value(scenario.world.finish("x")) == "yes"
        assert scenario.ran["x"] == 2, "replayed"
        assert scenario.ran["x.1"] == 1, "but not its step"

    def test_a_node_that_dropped_the_activation_requests_the_preload(
        self, scenario: Scenario
    ) -> None:
        scenario.suspended()
        scenario.node.core.state.drop(scenario.node.core.activations["x"])
        assert len(scenario.node.executor.closed) == 1, "its generator is closed"
        scenario.settle("person", "yes")
        assert scenario.value(scenario.world.finish("x")) == "yes"
        assert scenario.ran["x"] == 2
        assert scenario.ran["x.1"] == 1

    def test_a_preload_that_is_refused_ends_the_task(
        self, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scenario.suspended()
        scenario.node.core.state.drop(scenario.node.core.activations["x"])
        ask = scenario.node.request

        def request(command: Any, on_reply: Any) -> int:
            if not isinstance(command, TaskPreload):
                return ask(command, on_reply)
            on_reply(Refused(413, "the answer is larger than a frame may be", corr=1))
            return 0

        monkeypatch.setattr(scenario.node, "request", request)
        scenario.settle("person", "yes")
        with pytest.raises(CommandError, match="larger than a frame"):
            scenario.value(scenario.world.finish("x"))
        assert scenario.node.core.statistics().running == 0

    def test_at_most_warm_max_activations_stay_warm(self) -> None:
        scenario = Scenario(config=NodeConfig(concurrency=4, linger_ms=100, warm_max=2))
        for n in range(4):
            scenario.world.invoke(f"x{n}", "sleeper")
        scenario.env.registry.register(_sleeper, name="sleeper")
        scenario.world.rest(0)
        scenario.world.rest(100)
        assert scenario.node.core.statistics().warm == 2
        assert len(scenario.node.core.activations) == 2
        for n in range(4):
            assert scenario.value(scenario.world.finish(f"x{n}")) == "awake"

    def test_a_settlement_during_the_suspend_is_not_missed(self, scenario: Scenario) -> None:
        scenario.world.invoke("x", "person")
        scenario.world.rest(0)
        scenario.world.advance(CONFIG.linger_ms)
        assert scenario.node.core.activations["x"].phase is Phase.SUSPENDING
        scenario.settle("person", "yes")
        assert scenario.value(scenario.world.finish("x")) == "yes"
        assert scenario.ran["x"] == 1

    def test_the_reply_to_a_suspend_brings_missed_settlements(self, scenario: Scenario) -> None:
        scenario.world.invoke("x", "person")
        scenario.world.rest(0)
        scenario.settle("person", "yes")
        scenario.node.inbox.clear()
        scenario.world.rest(CONFIG.linger_ms)
        assert scenario.value(scenario.world.record("x")) == "yes"

    def test_no_suspend_while_a_fence_is_open(self, scenario: Scenario) -> None:
        """The store is slow: suspended in between, nobody would wake it for its own step."""

        def races(ctx: Any) -> Any:
            return (yield ctx.race([ctx.lfi(scenario.leaf, 1), ctx.promise(id="person")]))

        scenario.env.registry.register(races)
        scenario.world.invoke("x", "races")
        scenario.node.deliver_in()
        while scenario.node.executor.queue:
            scenario.node.run_one()
        scenario.world.advance(CONFIG.linger_ms)
        assert not any(isinstance(asked, TaskSuspend) for asked, _ in scenario.node.unanswered)
        scenario.world.rest(CONFIG.linger_ms)
        assert scenario.value(scenario.world.record("x")) == 2

    def test_no_suspend_before_a_cancel_in_another_slot_is_answered(
        self, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its broker may be away; if this node dies then, the next one cancels only if it runs."""

        def races(ctx: Any) -> Any:
            calls = [ctx.lfi(scenario.leaf, 1), ctx.promise(id="loser")]
            yield ctx.race(calls, cancel=True)
            promise = yield ctx.promise(id="person")
            return (yield promise)

        scenario.env.registry.register(races)
        node = scenario.node
        held: list[tuple[PromiseCancel, Any]] = []
        request = node.request

        def hold(command: Any, on_reply: Any) -> int:
            if isinstance(command, PromiseCancel):
                held.append((command, on_reply))
                return 0
            return request(command, on_reply)

        monkeypatch.setattr(node, "request", hold)
        scenario.world.invoke("x", "races")
        for _ in range(5):
            scenario.world.rest(CONFIG.linger_ms)
        assert [command.id for command, _ in held] == ["loser"]
        assert scenario.task_state == "acquired"
        request(*held.pop())
        for _ in range(5):
            scenario.world.rest(CONFIG.linger_ms)
        assert scenario.world.record("loser").state == CANCELED
        assert scenario.task_state == "suspended"

    def test_waiting_activations_use_no_credit(self, scenario: Scenario) -> None:
        for n in range(20):
            scenario.world.invoke(f"x{n}", "sleeper")
        scenario.env.registry.register(_sleeper, name="sleeper")
        scenario.world.rest(0)
        assert len(scenario.node.core.activations) == 20, "although only 4 may run"
        assert scenario.node.core.statistics().running == 0
