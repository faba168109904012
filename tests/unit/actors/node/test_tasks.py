"""Tasks from invoke to fulfill, every message by hand."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from tests.unit.actors.node.scenario import Scenario
from tests.unit.actors.node.world import START
from understudy.errors import UnknownFunctionError
from understudy_actors.activation import Run, StepReport
from understudy_actors.errors import CommandError, NonDeterminismError
from understudy_actors.interpreter.routine import Routine
from understudy_broker.protocol.messages import Invoke, Refused, Response
from understudy_store.commands import (
    PromiseCreate,
    PromiseSettle,
    Reply,
    TaskAcquire,
    TaskFence,
    TaskFulfill,
)
from understudy_store.records import Value


class TestCalls:
    def test_invoke_and_fulfill(self, scenario: Scenario) -> None:
        assert scenario.call("leaf", 1) == 2
        assert scenario.node.core.activations == {}
        assert scenario.node.core.statistics().done == 1

    def test_a_call_of_another_function(self, scenario: Scenario) -> None:
        assert scenario.call("chain", 1) == 2

    def test_local_steps(self, scenario: Scenario) -> None:
        assert scenario.call("local", 20) == list(range(1, 21))
        assert set(scenario.ran.values()) == {1}

    def test_results_that_arrive_together_travel_in_one_fence(self, scenario: Scenario) -> None:
        node = scenario.node
        scenario.world.invoke("x", "local", 5)
        node.deliver_in()
        node.run_one()
        runs, node.executor.queue = node.executor.queue, []
        before = len(node.unanswered)
        node.core.stepped([StepReport(run, run.routine.step(START)) for run in runs], START)
        (command,) = [asked for asked, _ in node.unanswered[before:]]
        assert isinstance(command, TaskFence)
        assert [type(each) for each in command.commands] == [PromiseSettle] * 5
        assert scenario.value(scenario.world.finish("x")) == [1, 2, 3, 4, 5]

    def test_calls_that_a_function_made_are_sent_before_its_result(
        self, scenario: Scenario
    ) -> None:
        def leave(ctx: Any) -> Any:
            yield ctx.detached("leaf", 1)
            return "left"

        scenario.env.registry.register(leave)
        scenario.world.invoke("x", "leave")
        scenario.node.deliver_in()
        scenario.node.run_one()
        assert [type(asked) for asked, _ in scenario.node.unanswered] == [TaskFence, TaskFulfill]
        assert scenario.value(scenario.world.finish("x")) == "left"

    def test_finished_activations_leave_no_cycles_to_collect(self, scenario: Scenario) -> None:
        def alive() -> list[object]:
            return [each for each in gc.get_objects() if type(each) in (Run, Routine)]

        gc.collect()
        gc.disable()
        try:
            before = len(alive())
            assert scenario.call("chain", 1) == 2
            scenario.world.invoke("y", "local", 3)
            scenario.world.finish("y")
            assert len(alive()) == before
        finally:
            gc.enable()

    def test_an_unknown_function_fails_the_call_at_once(self, scenario: Scenario) -> None:
        with pytest.raises(UnknownFunctionError, match="leaf"):
            scenario.call("leef", 1)
        assert scenario.world.now == START

    def test_a_task_with_an_unreadable_header_fails(self, scenario: Scenario) -> None:
        param = Value({"fn": "leaf", "v": "old"})
        create = PromiseCreate("x", START + 1000, param, {"understudy:target": "poll://any@g"})
        scenario.world.machine.apply(create, START)
        scenario.world.settle()
        with pytest.raises(ValueError, match="old"):
            scenario.value(scenario.world.finish("x"))

    def test_the_same_invoke_twice_is_performed_once(self, scenario: Scenario) -> None:
        scenario.world.invoke("x", "leaf", 1)
        (message,) = scenario.node.inbox
        assert isinstance(message, Invoke)
        scenario.node.inbox.append(message)
        scenario.world.finish("x")
        assert scenario.ran == {"x": 1}

    def test_an_invoke_repeated_later_does_not_begin_anew(self, scenario: Scenario) -> None:
        scenario.world.invoke("x", "person")
        (message,) = scenario.node.inbox
        scenario.world.rest(0)
        scenario.node.inbox.append(message)
        scenario.world.rest(0)
        assert scenario.ran["x"] == 1
        scenario.settle("person", "yes")
        assert scenario.value(scenario.world.finish("x")) == "yes"
        assert scenario.ran["x"] == 1

    @pytest.mark.parametrize("status", [400, 413, 429])
    def test_a_refused_result_fails_the_call(self, scenario: Scenario, status: int) -> None:
        """Whether the store refuses it or it does not even fit a frame."""
        scenario.world.invoke("x", "leaf", 1)
        scenario.node.deliver_in()
        scenario.node.run_one()
        _, on_reply = scenario.node.unanswered.pop()
        scenario.node.out.clear()
        refusal = Refused(413, "too large", corr=0)
        on_reply(Response(0, Reply(status, "too large")) if status != 429 else refusal)
        with pytest.raises(CommandError, match="the result of leaf: too large"):
            scenario.value(scenario.world.finish("x"))

    def test_a_fence_refused_as_a_whole_fails_the_call(self, scenario: Scenario) -> None:
        def own_id(ctx: Any) -> Any:
            yield ctx.rfc("leaf", 1).options(id=ctx.id)

        scenario.env.registry.register(own_id)
        with pytest.raises(CommandError, match="cannot touch its own promise"):
            scenario.call("own_id")
        assert scenario.node.core.statistics().running == 0

    def test_one_refused_call_of_many_fails_at_its_yield(self, scenario: Scenario) -> None:
        def bad_id(ctx: Any) -> Any:
            good = yield ctx.rfi("leaf", 1)
            bad = yield ctx.rfi("leaf", 1).options(id="a\tb")
            try:
                yield bad
            except CommandError as error:
                return [error.status, (yield good)]

        scenario.env.registry.register(bad_id)
        assert scenario.call("bad_id") == [400, 2]

    def test_an_id_that_belongs_to_another_call_is_an_error(self, scenario: Scenario) -> None:
        def thief(ctx: Any) -> Any:
            yield ctx.rfc("leaf", 1).options(id="y")

        scenario.env.registry.register(thief)
        scenario.world.invoke("y", "chain", 5)
        with pytest.raises(CommandError, match="the id 'y' belongs to another call"):
            scenario.call("thief")

    def test_a_call_attaches_to_an_existing_call_of_the_same_function(
        self, scenario: Scenario
    ) -> None:
        def attach(ctx: Any) -> Any:
            return (yield ctx.rfc("leaf", 1).options(id="y"))

        scenario.env.registry.register(attach)
        scenario.world.invoke("y", "leaf", 5)
        assert scenario.call("attach") == 6

    def test_waiting_for_an_absent_promise_is_an_error(self, scenario: Scenario) -> None:
        def waits(ctx: Any) -> Any:
            from understudy_actors.interpreter.requests import Promise

            yield Promise("nowhere")

        scenario.env.registry.register(waits)
        with pytest.raises(CommandError, match="'nowhere' does not exist"):
            scenario.call("waits")

    def test_a_local_call_may_wait_for_the_promise_of_another(self, scenario: Scenario) -> None:
        def inner(ctx: Any, promise: Any) -> Any:
            return (yield promise) + 1

        def brothers(ctx: Any) -> Any:
            remote = yield ctx.rfi("leaf", 1)
            slow = yield ctx.lfi(nap)
            return (yield ctx.all([ctx.lfi(inner, remote), ctx.lfi(inner, slow)]))

        def nap(ctx: Any) -> Any:
            yield ctx.sleep(5)
            return 10

        scenario.env.registry.register(brothers)
        assert scenario.call("brothers") == [3, 11]


def test_perform_of_a_task_found_pending_replays(scenario: Scenario) -> None:
    scenario.suspended()
    scenario.world.crash(scenario.node)
    scenario.settle("person", "yes")
    node = scenario.world.add_node()
    reply = scenario.world.machine.apply(TaskAcquire("x", 1, node.pid, 10_000), START)
    assert reply.promise is not None
    assert reply.task is not None
    node.core.perform(reply.promise, reply.task.version, 0, scenario.world.now)
    assert scenario.value(scenario.world.finish("x")) == "yes"
    assert scenario.ran["x.1"] == 1


def test_changed_code_fails_the_run(scenario: Scenario) -> None:
    scenario.suspended()
    scenario.world.crash(scenario.node)

    def person(ctx: Any) -> Any:
        yield ctx.rfc("leaf", 1)

    scenario.env.registry.register(person, replace=True)
    scenario.world.add_node()
    scenario.settle("person", "yes")
    with pytest.raises(NonDeterminismError, match="the history holds lfi leaf"):
        scenario.value(scenario.world.finish("x"))
