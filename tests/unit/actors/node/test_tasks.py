"""Tasks from invoke to fulfill, every message by hand."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from tests.unit.actors.node.scenario import Scenario
from tests.unit.actors.node.world import START
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
        assert [type(asked) for asked, _ in scenario.node.unanswered] == [TaskFence]
        scenario.node.deliver_out()
        scenario.node.deliver_in()
        scenario.node.run_one()
        assert [type(asked) for asked, _ in scenario.node.unanswered] == [TaskFulfill]
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

    def test_an_unknown_function_parks_the_task(self, scenario: Scenario) -> None:
        scenario.world.invoke("x", "leef", 1)
        scenario.world.settle_down()
        assert scenario.parked().startswith("UnknownFunctionError: no function 'leef'")
        assert "'leaf'" in scenario.parked()
        assert scenario.node.core.activations == {}
        assert scenario.node.core.running == 0

        scenario.env.registry.register(scenario.leaf, name="leef")
        scenario.proceed()
        assert scenario.value(scenario.world.finish("x")) == 2

    @pytest.mark.parametrize("header", [{"v": "old"}, {"retry": "of a newer release"}])
    def test_a_task_with_an_unreadable_header_is_parked(
        self, scenario: Scenario, header: dict[str, str]
    ) -> None:
        param = Value({"fn": "leaf", **header})
        create = PromiseCreate("x", START + 1000, param, {"understudy:target": "poll://any@g"})
        scenario.world.machine.apply(create, START)
        scenario.world.settle()
        scenario.world.settle_down()
        assert next(iter(header.values())) in scenario.parked()

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
        def asks(ctx: Any) -> Any:
            yield ctx.rfc("leaf", 1)

        scenario.env.registry.register(asks)
        scenario.world.invoke("x", "asks")
        scenario.node.deliver_in()
        scenario.node.run_one()
        _, on_reply = scenario.node.unanswered.pop()
        scenario.node.out.clear()
        on_reply(Response(0, Reply(400, "too many commands")))
        with pytest.raises(CommandError, match="too many commands"):
            scenario.value(scenario.world.finish("x"))
        assert scenario.node.core.statistics().running == 0

    def test_a_fence_over_the_quota_of_the_node_gives_the_task_back(
        self, scenario: Scenario
    ) -> None:
        """It is no failure of the function, which goes on once there is room."""

        def asks(ctx: Any) -> Any:
            return (yield ctx.rfc("leaf", 1))

        scenario.env.registry.register(asks)
        scenario.world.invoke("x", "asks")
        scenario.node.deliver_in()
        scenario.node.run_one()
        _, on_reply = scenario.node.unanswered.pop()
        scenario.node.out.clear()
        on_reply(Response(0, Reply(429, "too many pending promises")))
        assert scenario.node.core.statistics().running == 0
        assert scenario.value(scenario.world.finish("x")) == 2

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


def changed(scenario: Scenario, person: Any) -> None:
    """Have `person` go on in a node with other code, after its activation is lost."""
    scenario.suspended()
    scenario.world.crash(scenario.node)
    scenario.env.registry.register(person, name="person", replace=True)
    scenario.world.add_node()
    scenario.settle("person", "yes")


def test_changed_code_parks_the_task_and_a_rollback_lets_it_go_on(scenario: Scenario) -> None:
    def person(ctx: Any) -> Any:
        yield ctx.rfc("leaf", 1)

    changed(scenario, person)
    scenario.world.settle_down()
    cause = scenario.parked()
    assert cause.startswith("NonDeterminismError: x.1: the history holds run leaf (called at node/")
    assert "but the code now asks for rpc leaf (at node/test_tasks.py:" in cause
    assert not scenario.world.record("x").settled

    scenario.env.registry.register(scenario.person, replace=True)
    scenario.proceed()
    assert scenario.value(scenario.world.finish("x")) == "yes"
    assert scenario.ran["x.1"] == 1, "the stored step did not run again"
    task = scenario.world.machine.view.task("x")
    assert task is not None
    assert task.cause is None


def test_changed_code_of_a_local_call_parks_its_task(scenario: Scenario) -> None:
    def inner(ctx: Any, new: bool) -> Any:
        yield ctx.lfc(scenario.flaky if new else scenario.leaf, 0)
        return (yield (yield ctx.promise(id="person")))

    def person(ctx: Any, new: bool = False) -> Any:
        try:
            return (yield ctx.lfc(inner, new))
        except NonDeterminismError:
            return "swallowed"

    scenario.env.registry.register(person, replace=True)
    changed(scenario, lambda ctx: (yield from person(ctx, new=True)))
    scenario.world.settle_down()
    assert "x.1.1: the history holds run leaf" in scenario.parked()
    scenario.env.registry.register(person, replace=True)
    scenario.proceed()
    assert scenario.value(scenario.world.finish("x")) == "yes"


def test_a_detached_call_that_changed_is_found_by_the_store(scenario: Scenario) -> None:
    """The history does not hold detached calls, which are call graphs of their own."""

    def calling(name: str) -> Any:
        def person(ctx: Any) -> Any:
            yield ctx.detached(name, 1)
            return (yield (yield ctx.promise(id="person")))

        return person

    scenario.env.registry.register(calling("leaf"), name="person", replace=True)
    changed(scenario, calling("flaky"))
    scenario.world.settle_down()
    assert "x.1: the history holds detached leaf" in scenario.parked()


def test_a_node_that_lost_the_task_does_not_park_it(scenario: Scenario) -> None:
    """It asks with the version that it had, and another node has the task by then."""
    scenario.world.invoke("x", "leef", 1)
    while not scenario.node.unanswered:
        scenario.world.moves()[0]()
    scenario.world.machine.release_pid(scenario.node.pid, scenario.world.now)
    scenario.world.settle()
    scenario.node.deliver_out()
    assert scenario.task_state == "acquired", "as version 2, which the node has not begun"
    scenario.world.settle_down()
    assert scenario.parked()
