"""The node's core against the real machine, every message by hand."""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any

import pytest

from tests.unit.actors.node.node_world import START, Node, World
from understudy.client.node_environment import NodeEnvironment
from understudy.errors import UnknownFunctionError
from understudy.registry import Registry
from understudy.retry import Constant, Never
from understudy.values import Codec
from understudy_actors.activation import Phase, Run, StepReport
from understudy_actors.errors import CommandError, NonDeterminismError
from understudy_actors.interpreter import routine as routine_module
from understudy_actors.interpreter.routine import Routine
from understudy_actors.node.config import NodeConfig
from understudy_actors.node.credit import CreditPolicy
from understudy_broker.protocol.messages import Invoke, Refused, Response, Resume
from understudy_store.commands import (
    PromiseCreate,
    PromiseSettle,
    Reply,
    TaskAcquire,
    TaskFence,
    TaskFulfill,
    TaskHalt,
    TaskPreload,
    TaskSuspend,
)
from understudy_store.records import RESOLVED, TAG_EXTERNAL, PromiseRecord, Value

CONFIG = NodeConfig(concurrency=4, linger_ms=100)


class Stage:
    """A world, functions in it, and a count of how often each step ran."""

    def __init__(self, nodes: int = 1, config: NodeConfig = CONFIG) -> None:
        self.ran: Counter[str] = Counter()
        self.env = NodeEnvironment(
            Registry(), Codec(), group="g", timeout_s=3600, retry=Constant(1, 3)
        )
        self.world = World(self.env, nodes, config)
        for fn in (self.leaf, self.chain, self.person, self.local, self.flaky):
            self.env.registry.register(fn)

    def leaf(self, ctx: Any, n: int) -> int:
        self.ran[ctx.id] += 1
        return n + 1

    def chain(self, ctx: Any, n: int) -> Any:
        return (yield ctx.rfc("leaf", n))

    def person(self, ctx: Any) -> Any:
        self.ran[ctx.id] += 1
        self.ran["steps"] += yield ctx.lfc(self.leaf, 0)
        promise = yield ctx.promise(id="person")
        return (yield promise)

    def local(self, ctx: Any, n: int) -> Any:
        return (yield ctx.all([ctx.lfi(self.leaf, i) for i in range(n)]))

    def flaky(self, ctx: Any, times: int) -> int:
        self.ran[ctx.id] += 1
        if self.ran[ctx.id] <= times:
            raise OSError(f"time {self.ran[ctx.id]}")
        return self.ran[ctx.id]

    @property
    def node(self) -> Node:
        return self.world.nodes[0]

    def value(self, record: PromiseRecord) -> Any:
        if record.state == RESOLVED:
            return self.env.values.decode_value(record.value.data)
        raise self.env.values.settled_error(record)

    def call(self, name: str, *args: Any) -> Any:
        self.world.invoke("x", name, *args)
        return self.value(self.world.finish("x"))

    def settle(self, id: str, value: Any) -> None:
        data = self.env.values.encode_value(value, "it")
        assert self.world.machine.apply(
            PromiseSettle(id, RESOLVED, Value({}, data)), self.world.now
        ).ok
        self.world.settle()

    def suspended(self) -> None:
        """`person` waits long enough to be suspended."""
        self.world.invoke("x", "person")
        self.world.rest(0)
        self.world.rest(CONFIG.linger_ms)
        assert self.node.core.activations["x"].phase is Phase.SUSPENDED
        assert self.task_state == "suspended"
        assert self.node.core.statistics().warm == 1

    @property
    def task_state(self) -> str:
        task = self.world.machine.view.task("x")
        assert task is not None
        return task.state


@pytest.fixture
def stage() -> Stage:
    return Stage()


class TestCalls:
    def test_invoke_and_fulfill(self, stage: Stage) -> None:
        assert stage.call("leaf", 1) == 2
        assert stage.node.core.activations == {}
        assert stage.node.core.statistics().done == 1

    def test_a_call_of_another_function(self, stage: Stage) -> None:
        assert stage.call("chain", 1) == 2

    def test_local_steps(self, stage: Stage) -> None:
        assert stage.call("local", 20) == list(range(1, 21))
        assert set(stage.ran.values()) == {1}

    def test_results_that_come_together_are_told_in_one_fence(self, stage: Stage) -> None:
        node = stage.node
        stage.world.invoke("x", "local", 5)
        node.deliver_in()
        node.run_one()
        runs, node.executor.queue = node.executor.queue, []
        before = len(node.unanswered)
        node.core.stepped([StepReport(run, run.routine.step(START)) for run in runs], START)
        (command,) = [asked for asked, _ in node.unanswered[before:]]
        assert isinstance(command, TaskFence)
        assert [type(each) for each in command.commands] == [PromiseSettle] * 5
        assert stage.value(stage.world.finish("x")) == [1, 2, 3, 4, 5]

    def test_what_a_function_started_is_told_before_its_end(self, stage: Stage) -> None:
        def leave(ctx: Any) -> Any:
            yield ctx.detached("leaf", 1)
            return "left"

        stage.env.registry.register(leave)
        stage.world.invoke("x", "leave")
        stage.node.deliver_in()
        stage.node.run_one()
        assert [type(asked) for asked, _ in stage.node.unanswered] == [TaskFence, TaskFulfill]
        assert stage.value(stage.world.finish("x")) == "left"

    def test_what_is_done_is_no_work_for_the_garbage_collector(self, stage: Stage) -> None:
        def alive() -> list[object]:
            return [each for each in gc.get_objects() if type(each) in (Run, Routine)]

        gc.collect()
        gc.disable()
        try:
            before = len(alive())
            assert stage.call("chain", 1) == 2
            stage.world.invoke("y", "local", 3)
            stage.world.finish("y")
            assert len(alive()) == before
        finally:
            gc.enable()

    def test_an_unknown_function_fails_the_call_at_once(self, stage: Stage) -> None:
        with pytest.raises(UnknownFunctionError, match="leaf"):
            stage.call("leef", 1)
        assert stage.world.now == START

    def test_a_task_whose_header_makes_no_sense_fails(self, stage: Stage) -> None:
        param = Value({"fn": "leaf", "v": "old"})
        create = PromiseCreate("x", START + 1000, param, {"understudy:target": "poll://any@g"})
        stage.world.machine.apply(create, START)
        stage.world.settle()
        with pytest.raises(ValueError, match="old"):
            stage.value(stage.world.finish("x"))

    def test_the_same_invoke_twice_is_performed_once(self, stage: Stage) -> None:
        stage.world.invoke("x", "leaf", 1)
        (message,) = stage.node.inbox
        assert isinstance(message, Invoke)
        stage.node.inbox.append(message)
        stage.world.finish("x")
        assert stage.ran == {"x": 1}

    def test_an_invoke_that_comes_again_later_does_not_begin_anew(self, stage: Stage) -> None:
        stage.world.invoke("x", "person")
        (message,) = stage.node.inbox
        stage.world.rest(0)
        stage.node.inbox.append(message)
        stage.world.rest(0)
        assert stage.ran["x"] == 1
        stage.settle("person", "yes")
        assert stage.value(stage.world.finish("x")) == "yes"
        assert stage.ran["x"] == 1

    @pytest.mark.parametrize("status", [400, 413, 429])
    def test_a_refused_result_fails_the_call(self, stage: Stage, status: int) -> None:
        """Whether the store refuses it or it does not even fit a frame."""
        stage.world.invoke("x", "leaf", 1)
        stage.node.deliver_in()
        stage.node.run_one()
        _, on_reply = stage.node.unanswered.pop()
        stage.node.out.clear()
        refusal = Refused(413, "too large", corr=0)
        on_reply(Response(0, Reply(status, "too large")) if status != 429 else refusal)
        with pytest.raises(CommandError, match="the result of leaf: too large"):
            stage.value(stage.world.finish("x"))

    def test_a_fence_that_is_refused_as_a_whole_fails_the_call(self, stage: Stage) -> None:
        def own_id(ctx: Any) -> Any:
            yield ctx.rfc("leaf", 1).options(id=ctx.id)

        stage.env.registry.register(own_id)
        with pytest.raises(CommandError, match="cannot touch its own promise"):
            stage.call("own_id")
        assert stage.node.core.statistics().running == 0

    def test_one_bad_call_of_many_fails_at_its_yield(self, stage: Stage) -> None:
        def bad_id(ctx: Any) -> Any:
            good = yield ctx.rfi("leaf", 1)
            bad = yield ctx.rfi("leaf", 1).options(id="a\tb")
            try:
                yield bad
            except CommandError as error:
                return [error.status, (yield good)]

        stage.env.registry.register(bad_id)
        assert stage.call("bad_id") == [400, 2]

    def test_an_id_that_belongs_to_another_call(self, stage: Stage) -> None:
        def thief(ctx: Any) -> Any:
            yield ctx.rfc("leaf", 1).options(id="y")

        stage.env.registry.register(thief)
        stage.world.invoke("y", "chain", 5)
        with pytest.raises(CommandError, match="the id 'y' belongs to another call"):
            stage.call("thief")

    def test_a_call_attaches_to_one_of_the_same_function(self, stage: Stage) -> None:
        def attach(ctx: Any) -> Any:
            return (yield ctx.rfc("leaf", 1).options(id="y"))

        stage.env.registry.register(attach)
        stage.world.invoke("y", "leaf", 5)
        assert stage.call("attach") == 6

    def test_waiting_for_what_does_not_exist_says_so(self, stage: Stage) -> None:
        def waits(ctx: Any) -> Any:
            from understudy_actors.interpreter.requests import Promise

            yield Promise("nowhere")

        stage.env.registry.register(waits)
        with pytest.raises(CommandError, match="'nowhere' does not exist"):
            stage.call("waits")

    def test_a_step_may_wait_for_its_brothers_promise(self, stage: Stage) -> None:
        def inner(ctx: Any, promise: Any) -> Any:
            return (yield promise) + 1

        def brothers(ctx: Any) -> Any:
            remote = yield ctx.rfi("leaf", 1)
            slow = yield ctx.lfi(nap)
            return (yield ctx.all([ctx.lfi(inner, remote), ctx.lfi(inner, slow)]))

        def nap(ctx: Any) -> Any:
            yield ctx.sleep(5)
            return 10

        stage.env.registry.register(brothers)
        assert stage.call("brothers") == [3, 11]


class TestSuspending:
    def test_a_short_wait_keeps_the_lease(self, stage: Stage) -> None:
        stage.world.invoke("x", "person")
        stage.world.rest(0)
        assert stage.task_state == "acquired"
        assert stage.node.core.activations["x"].phase is Phase.WAITING
        stage.settle("person", "yes")
        assert stage.value(stage.world.finish("x")) == "yes"
        assert stage.ran["x"] == 1

    def test_a_long_wait_is_suspended_and_resumed_warm(self, stage: Stage) -> None:
        stage.suspended()
        stage.settle("person", "yes")
        assert isinstance(stage.node.inbox[-1], Resume)
        assert stage.node.inbox[-1].preload is None
        assert stage.value(stage.world.finish("x")) == "yes"
        assert stage.ran["x"] == 1, "not replayed"

    def test_another_node_replays_from_the_preload(self, stage: Stage) -> None:
        stage.suspended()
        other = stage.world.add_node()
        stage.world.crash(stage.node)
        stage.settle("person", "yes")
        message = other.inbox[-1]
        assert isinstance(message, Resume)
        assert message.preload is not None
        assert [r.id for r in message.preload] == ["x.1", "person"]
        assert stage.value(stage.world.finish("x")) == "yes"
        assert stage.ran["x"] == 2, "replayed"
        assert stage.ran["x.1"] == 1, "but not its step"

    def test_a_node_that_forgot_asks_for_the_preload(self, stage: Stage) -> None:
        stage.suspended()
        stage.node.core.state.drop(stage.node.core.activations["x"])
        assert len(stage.node.executor.closed) == 1, "its generator is closed"
        stage.settle("person", "yes")
        assert stage.value(stage.world.finish("x")) == "yes"
        assert stage.ran["x"] == 2
        assert stage.ran["x.1"] == 1

    def test_a_preload_that_is_refused_ends_the_task(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stage.suspended()
        stage.node.core.state.drop(stage.node.core.activations["x"])
        ask = stage.node.request

        def request(command: Any, on_reply: Any) -> int:
            if not isinstance(command, TaskPreload):
                return ask(command, on_reply)
            on_reply(Refused(413, "the answer is larger than a frame may be", corr=1))
            return 0

        monkeypatch.setattr(stage.node, "request", request)
        stage.settle("person", "yes")
        with pytest.raises(CommandError, match="larger than a frame"):
            stage.value(stage.world.finish("x"))
        assert stage.node.core.statistics().running == 0

    def test_only_so_many_stay_warm(self) -> None:
        stage = Stage(config=NodeConfig(concurrency=4, linger_ms=100, warm_max=2))
        for n in range(4):
            stage.world.invoke(f"x{n}", "sleeper")
        stage.env.registry.register(_sleeper, name="sleeper")
        stage.world.rest(0)
        stage.world.rest(100)
        assert stage.node.core.statistics().warm == 2
        assert len(stage.node.core.activations) == 2
        for n in range(4):
            assert stage.value(stage.world.finish(f"x{n}")) == "awake"

    def test_what_settles_while_it_suspends_is_not_missed(self, stage: Stage) -> None:
        stage.world.invoke("x", "person")
        stage.world.rest(0)
        stage.world.advance(CONFIG.linger_ms)
        assert stage.node.core.activations["x"].phase is Phase.SUSPENDING
        stage.settle("person", "yes")
        assert stage.value(stage.world.finish("x")) == "yes"
        assert stage.ran["x"] == 1

    def test_what_it_was_not_told_of_it_learns_when_it_suspends(self, stage: Stage) -> None:
        stage.world.invoke("x", "person")
        stage.world.rest(0)
        stage.settle("person", "yes")
        stage.node.inbox.clear()
        stage.world.rest(CONFIG.linger_ms)
        assert stage.value(stage.world.record("x")) == "yes"

    def test_a_step_that_is_being_stored_is_waited_for(self, stage: Stage) -> None:
        """The store is slow: suspended in between, nobody would wake it for its own step."""

        def races(ctx: Any) -> Any:
            return (yield ctx.race([ctx.lfi(stage.leaf, 1), ctx.promise(id="person")]))

        stage.env.registry.register(races)
        stage.world.invoke("x", "races")
        stage.node.deliver_in()
        while stage.node.executor.queue:
            stage.node.run_one()
        stage.world.advance(CONFIG.linger_ms)
        assert not any(isinstance(asked, TaskSuspend) for asked, _ in stage.node.unanswered)
        stage.world.rest(CONFIG.linger_ms)
        assert stage.value(stage.world.record("x")) == 2

    def test_waiting_uses_no_credit(self, stage: Stage) -> None:
        for n in range(20):
            stage.world.invoke(f"x{n}", "sleeper")
        stage.env.registry.register(_sleeper, name="sleeper")
        stage.world.rest(0)
        assert len(stage.node.core.activations) == 20, "although only 4 may run"
        assert stage.node.core.statistics().running == 0


def _sleeper(ctx: Any) -> Any:
    yield ctx.sleep(5)
    return "awake"


class TestLosing:
    def lapse(self, stage: Stage) -> None:
        """The lease of `x` goes to a second node."""
        stage.node.sent = stage.node.total
        stage.world.machine.release_pid(stage.node.pid, stage.world.now)
        second = stage.world.add_node()
        stage.world.settle()
        assert stage.world.machine.view.held(second.pid) == [("x", 2)]

    def test_a_late_result_is_ignored(self, stage: Stage) -> None:
        stage.world.invoke("x", "leaf", 1)
        stage.node.deliver_in()
        self.lapse(stage)
        stage.node.run_one()
        stage.node.deliver_out()
        assert stage.task_state == "acquired", "the fulfil of the late one is refused"
        stage.world.settle_down()
        assert stage.node.core.activations == {}
        assert stage.value(stage.world.finish("x")) == 2
        assert stage.node.core.statistics().running == 0

    def test_a_late_result_does_not_count_for_the_next_version_here(self, stage: Stage) -> None:
        stage.world.invoke("x", "leaf", 1)
        stage.node.deliver_in()
        late = stage.node.executor.queue.pop()
        output = late.routine.step(START)
        promise = stage.node.core.activations["x"].promise
        stage.node.core.receive([Resume(promise, 2, [])], START)
        stage.node.core.stepped([StepReport(late, output)], START)
        assert stage.node.unanswered == []
        assert stage.node.core.statistics().running == 1
        assert stage.node.core.statistics().done == 0

    def test_a_refused_fence_drops_the_activation(self, stage: Stage) -> None:
        stage.world.invoke("x", "person")
        stage.node.deliver_in()
        self.lapse(stage)
        first = stage.node
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
        stage.world.settle_down()
        stage.settle("person", "yes")
        assert stage.value(stage.world.finish("x")) == "yes"

    def test_revoked_drops_and_closes(self, stage: Stage) -> None:
        stage.world.invoke("x", "person")
        stage.world.rest(0)
        run = stage.node.core.activations["x"].root
        assert run is not None
        stage.world.machine.apply(TaskHalt("x"), stage.world.now)
        stage.world.settle()
        stage.world.settle_down()
        assert stage.node.core.activations == {}
        assert stage.node.executor.closed == [run]
        assert not run.routine.alive

    def test_a_step_that_ended_before_the_drop_is_closed_too(self, stage: Stage) -> None:
        """The step's result is on its way when the activation is dropped: nobody else would."""
        stage.world.invoke("x", "person")
        stage.node.deliver_in()
        run = stage.node.executor.queue.pop()
        output = run.routine.step(START)
        stage.node.core.state.drop(stage.node.core.activations["x"])
        assert run.routine.alive
        stage.node.core.stepped([StepReport(run, output)], START)
        assert not run.routine.alive

    def test_a_stranger_does_not_wake_what_was_dropped(self, stage: Stage) -> None:
        def waits(ctx: Any) -> Any:
            return (yield ctx.promise(id="shared"))

        stage.env.registry.register(waits)
        tags = {TAG_EXTERNAL: "true"}
        create = PromiseCreate("shared", START + 10_000_000, Value({"kind": "promise"}), tags)
        stage.world.machine.apply(create, START)
        stage.world.invoke("x", "waits")
        stage.world.rest(0)
        stage.world.machine.apply(TaskHalt("x"), START)
        stage.world.settle()
        stage.world.settle_down()
        stage.settle("shared", 1)
        stage.world.settle_down()
        assert stage.node.core.statistics().running == 0
        assert stage.node.executor.queue == []


class TestReconnecting:
    def test_claims_are_kept_and_what_was_missed_is_caught_up(self, stage: Stage) -> None:
        stage.world.invoke("x", "person")
        stage.world.rest(0)
        stage.node.cut()
        stage.settle("person", "yes")
        assert stage.node.core.claims() == (("x", 1),)
        stage.node.hello()
        assert stage.value(stage.world.finish("x")) == "yes"
        assert stage.ran["x"] == 1

    def test_what_was_missed_is_asked_for_at_once(self, stage: Stage) -> None:
        stage.world.invoke("x", "person")
        stage.world.rest(0)
        stage.node.cut()
        stage.settle("person", "yes")
        stage.node.hello()
        stage.world.settle_down()
        assert stage.world.record("x").settled, "before it has lingered"

    def test_only_leases_are_claimed(self, stage: Stage) -> None:
        stage.suspended()
        assert stage.node.core.claims() == ()

    def test_lost_claims_are_dropped(self, stage: Stage) -> None:
        stage.world.invoke("x", "person")
        stage.world.rest(0)
        stage.node.cut()
        stage.world.machine.release_pid(stage.node.pid, START)
        stage.world.settle()
        stage.node.hello()
        assert stage.node.core.activations == {}
        stage.world.settle_down()
        stage.settle("person", "yes")
        assert stage.value(stage.world.finish("x")) == "yes"
        assert stage.ran["x"] == 2
        assert stage.ran["x.1"] == 1

    def test_unanswered_requests_go_out_again(self, stage: Stage) -> None:
        stage.world.invoke("x", "leaf", 1)
        stage.node.deliver_in()
        stage.node.run_one()
        stage.node.deliver_out()
        stage.node.cut()
        stage.node.hello()
        stage.world.settle_down()
        assert stage.node.core.activations == {}
        assert stage.node.unanswered == []

    def test_what_was_suspended_is_warm_no_longer(self, stage: Stage) -> None:
        stage.suspended()
        stage.node.cut()
        assert stage.node.core.activations == {}
        stage.node.hello()
        stage.settle("person", "yes")
        assert stage.value(stage.world.finish("x")) == "yes"
        assert stage.ran["x"] == 2

    def test_strangers_are_watched_again(self, stage: Stage) -> None:
        def waits(ctx: Any) -> Any:
            promise = yield ctx.promise(id="shared")
            return (yield promise)

        stage.env.registry.register(waits)
        create = PromiseCreate("shared", START + 10**7, Value({}), {TAG_EXTERNAL: "true"})
        stage.world.machine.apply(create, START)
        stage.world.invoke("x", "waits")
        stage.world.rest(0)
        stage.node.cut()
        stage.node.hello()
        stage.world.settle_down()
        assert "shared" in stage.node.watches
        stage.settle("shared", 4)
        assert stage.value(stage.world.finish("x")) == 4

    def test_credit_said_before_the_welcome_is_said_again(self, stage: Stage) -> None:
        """Between hello and welcome the link drops it: that must not starve the node."""
        for n in range(4):
            stage.world.invoke(f"x{n}", "leaf", n)
        while stage.node.inbox:
            stage.node.deliver_in()
        stage.node.cut()
        core = stage.node.core
        assert core.new_session() == 0, "all four slots are taken"
        for _ in range(4):
            stage.node.run_one()
        assert core.statistics().credit == 0, "nobody has heard of it"
        stage.node.connected = True
        core.grant()
        assert core.statistics().credit == 4


class TestCredit:
    def test_target(self) -> None:
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

    def test_it_asks_for_no_more_than_it_has_room_for(self, stage: Stage) -> None:
        for n in range(50):
            stage.world.invoke(f"x{n}", "leaf", n)
        assert stage.node.sent == 4
        stage.node.deliver_in()
        assert stage.node.core.statistics().running == 1
        for n in range(50):
            stage.world.finish(f"x{n}")
        assert stage.node.sent == 50
        assert stage.node.core.statistics().running == 0
        assert stage.node.core.statistics().credit == 4

    def test_a_node_that_does_not_serve_asks_for_none(self, stage: Stage) -> None:
        stage.node.core.stop_serving()
        assert stage.node.core.new_session() == 0


class TestRetrying:
    def test_a_task_goes_back_with_a_delay(self, stage: Stage) -> None:
        assert stage.call("flaky", 2) == 3
        assert stage.world.now - START >= 2000
        assert stage.node.core.statistics().running == 0

    def test_and_gives_up(self, stage: Stage) -> None:
        with pytest.raises(OSError, match="time 3"):
            stage.call("flaky", 9)

    def test_a_step_is_retried_here(self, stage: Stage) -> None:
        def outer(ctx: Any) -> Any:
            return (yield ctx.lfc(stage.flaky, 2))

        stage.env.registry.register(outer)
        stage.world.invoke("x", "outer")
        stage.world.rest(0)
        assert stage.node.core.next_due() == START + 1000
        stage.world.rest(999)
        assert stage.ran["x.1"] == 1
        stage.world.rest(1)
        assert stage.ran["x.1"] == 2
        assert stage.value(stage.world.finish("x")) == 3
        assert stage.world.machine.view.task("x").version == 1  # type: ignore[union-attr]

    def test_a_step_gives_up_too(self, stage: Stage) -> None:
        def outer(ctx: Any) -> Any:
            return (yield ctx.lfc(stage.flaky, 9))

        stage.env.registry.register(outer)
        with pytest.raises(OSError, match="time 3"):
            stage.call("outer")

    def test_a_calls_own_policy_counts(self, stage: Stage) -> None:
        def outer(ctx: Any) -> Any:
            for call, fn in ((ctx.lfc, stage.flaky), (ctx.rfc, "flaky")):
                try:
                    yield call(fn, 1).options(retry=Never())
                except OSError:
                    continue
            return dict(stage.ran)

        stage.env.registry.register(outer)
        assert stage.call("outer") == {"x.1": 1, "x.2": 1}

    def test_a_retry_that_is_due_after_the_loss_does_nothing(self, stage: Stage) -> None:
        def outer(ctx: Any) -> Any:
            return (yield ctx.lfc(stage.flaky, 2))

        stage.env.registry.register(outer)
        stage.world.invoke("x", "outer")
        stage.world.rest(0)
        stage.node.core.state.drop(stage.node.core.activations["x"])
        stage.world.advance(5000)
        assert stage.node.executor.queue == []
        assert stage.node.core.next_due() is None


class TestLeaving:
    def test_what_has_not_begun_is_given_back(self, stage: Stage) -> None:
        for n in range(3):
            stage.world.invoke(f"x{n}", "leaf", n)
        while stage.node.inbox:
            stage.node.deliver_in()
        stage.node.core.stop_serving()
        assert stage.node.core.give_back() == 3
        assert stage.node.core.holding == 0
        assert stage.node.core.statistics().running == 0
        stage.node.sent = stage.node.total
        stage.world.add_node()
        for n in range(3):
            assert stage.value(stage.world.finish(f"x{n}")) == n + 1
        assert stage.node.core.statistics().done == 0

    def test_who_gives_back_all_that_it_has_asks_for_work_again(self, stage: Stage) -> None:
        for n in range(200):
            stage.world.invoke(f"x{n}", "leaf", n)
        while stage.node.inbox:
            stage.node.deliver_in()
        core = stage.node.core
        assert core.statistics().credit == 0
        # no step ends and no message comes that would make it ask
        assert core.give_back() == 200 - len(stage.world.queue)
        assert core.statistics().credit > 0

    def test_a_resumed_one_that_is_given_back_is_closed(self, stage: Stage) -> None:
        stage.suspended()
        run = stage.node.core.activations["x"].root
        assert run is not None
        stage.settle("person", "yes")
        while stage.node.inbox:
            stage.node.deliver_in()
        assert stage.node.core.give_back() == 1
        assert not run.routine.alive
        assert stage.value(stage.world.finish("x")) == "yes"

    def test_what_waits_is_suspended_at_once(self, stage: Stage) -> None:
        stage.world.invoke("x", "person")
        stage.world.rest(0)
        stage.node.core.stop_serving()
        stage.world.settle_down()
        assert stage.task_state == "suspended"
        assert stage.node.core.holding == 0


class TestFlow:
    def test_a_pause_that_ends_before_its_step_is_reported(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All answers are in before the node hears that the function had paused for them."""
        monkeypatch.setattr(routine_module, "UNANSWERED_MAX", 300)
        monkeypatch.setattr(routine_module, "UNANSWERED_LOW", 100)

        def many(ctx: Any) -> Any:
            for n in range(600):
                yield ctx.rfi("leaf", n)

        stage.env.registry.register(many)
        stage.world.invoke("x", "many")
        stage.node.deliver_in()
        run = stage.node.executor.queue.pop()
        parts: list[Any] = []
        run.routine.flush = lambda output: parts.append(StepReport(run, output, False))
        last = StepReport(run, run.routine.step(START))
        states = [run.routine.paused]
        stage.node.core.stepped(parts, START)
        while stage.node.out:
            stage.node.deliver_out()
        while stage.node.inbox:
            stage.node.deliver_in()
        states.append(run.routine.paused)
        assert states == [True, False]
        run.routine.flush = None
        stage.node.core.stepped([last], START)
        stage.world.finish("x")
        assert len(stage.ran) == 600

    def test_settles_of_steps_do_not_count_as_answers_of_calls(self, stage: Stage) -> None:
        stage.world.invoke("x", "local", 10)
        stage.node.deliver_in()
        run = stage.node.core.activations["x"].root
        assert run is not None
        stage.world.finish("x")
        assert run.routine._sent == run.routine._answered == 10


def test_perform_of_a_task_found_pending_replays(stage: Stage) -> None:
    stage.suspended()
    stage.world.crash(stage.node)
    stage.settle("person", "yes")
    node = stage.world.add_node()
    reply = stage.world.machine.apply(TaskAcquire("x", 1, node.pid, 10_000), START)
    assert reply.promise is not None
    assert reply.task is not None
    node.core.perform(reply.promise, reply.task.version, 0, stage.world.now)
    assert stage.value(stage.world.finish("x")) == "yes"
    assert stage.ran["x.1"] == 1


def test_changed_code_fails_the_run(stage: Stage) -> None:
    stage.suspended()
    stage.world.crash(stage.node)

    def person(ctx: Any) -> Any:
        yield ctx.rfc("leaf", 1)

    stage.env.registry.register(person, replace=True)
    stage.world.add_node()
    stage.settle("person", "yes")
    with pytest.raises(NonDeterminismError, match="the history holds lfi leaf"):
        stage.value(stage.world.finish("x"))
