"""What a node tells of the progress of its functions, and how functions learn of their end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.actors.node.scenario import CONFIG, Scenario
from understudy_actors.node.progress import NEWS_MAX
from understudy_broker.protocol.messages import ProgressEntry
from understudy_store.commands import PromiseCancel


class Speaking(Scenario):
    """A scenario with functions that say how far they are, and see whether they are canceled."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: dict[str, Any] = {}
        self.canceled: list[bool] = []
        #: what happens in the middle of a function
        self.meanwhile: Any = lambda: None
        for fn in (self.speaks, self.asks, self.steps, self.retries, self.breaks):
            self.env.registry.register(fn)
        self.env.on_progress = self.node.core.progress.note

    def speaks(self, ctx: Any) -> str:
        self.contexts[ctx.id] = ctx
        for number in range(10):
            ctx.progress(number / 10, f"row {number}")
        self.meanwhile()
        self.canceled.append(ctx.canceled)
        return "done"

    def asks(self, ctx: Any) -> Any:
        ctx.progress(0.5, "asks")
        return (yield (yield ctx.promise(id="person")))

    def steps(self, ctx: Any) -> Any:
        promise = yield ctx.begin_run(self.speaks)
        yield ctx.begin_rpc("leaf", 1)
        return (yield promise)

    def retries(self, ctx: Any) -> Any:
        return (yield ctx.run(self.breaks))

    def breaks(self, ctx: Any) -> None:
        ctx.progress(0.9)
        self.ran[ctx.id] += 1
        if self.ran[ctx.id] == 1:
            raise OSError

    def taken(self) -> list[ProgressEntry]:
        return self.node.core.progress.take()


@pytest.fixture
def scenario() -> Speaking:
    return Speaking()


def test_only_the_latest_is_told_and_only_once(scenario: Speaking) -> None:
    told: list[list[ProgressEntry]] = []
    scenario.meanwhile = lambda: told.extend([scenario.taken(), scenario.taken()])
    assert scenario.call("speaks") == "done"
    assert told == [[ProgressEntry("x", 1, "x", 0.9, "row 9")], []]
    assert scenario.taken() == []


def test_the_shell_is_woken_once_for_all_news(scenario: Speaking) -> None:
    woken: list[int] = []
    scenario.node.core.progress.on_news = lambda: woken.append(1)
    scenario.meanwhile = lambda: woken.extend(len(scenario.taken()) * [2])
    scenario.call("speaks")
    assert woken == [1, 2]
    scenario.world.invoke("y", "speaks")
    scenario.world.settle_down()
    assert woken[2:] == [1, 2], "and again after they were taken"


def test_nothing_is_told_of_what_has_ended_meanwhile(scenario: Speaking) -> None:
    scenario.call("speaks")
    assert scenario.taken() == []


def test_a_step_speaks_for_itself_and_is_silent_when_it_ends(scenario: Speaking) -> None:
    scenario.world.invoke("x", "steps")
    told: list[list[ProgressEntry]] = []
    scenario.meanwhile = lambda: told.append(scenario.taken())
    scenario.world.settle_down()
    assert told == [[ProgressEntry("x", 1, "x.1", 0.9, "row 9")]]
    scenario.world.invoke("y", "steps")
    scenario.meanwhile = lambda: None
    node = scenario.node
    node.deliver_in()
    node.run_one()
    node.run_one()
    assert scenario.taken() == [ProgressEntry("y", 1, "y.1")]


def test_a_new_attempt_has_none(scenario: Speaking) -> None:
    scenario.world.invoke("x", "breaks")
    scenario.world.settle_down()
    assert scenario.task_state == "pending"
    assert scenario.taken() == []


def test_a_step_that_is_tried_again_says_why(scenario: Speaking) -> None:
    scenario.world.invoke("x", "retries")
    scenario.world.rest(0)
    [entry] = scenario.taken()[-1:]
    assert (entry.id, entry.run, entry.fraction) == ("x", "x.1", None)
    assert entry.text.startswith("attempt 1 ")
    assert "failed: OSError; the next one in " in entry.text


def test_it_is_told_again_after_a_reconnect(scenario: Speaking) -> None:
    scenario.world.invoke("x", "asks")
    scenario.world.rest(0)
    assert scenario.taken() == [ProgressEntry("x", 1, "x", 0.5, "asks")]
    assert scenario.taken() == []
    scenario.node.cut()
    scenario.node.join()
    assert scenario.taken() == [ProgressEntry("x", 1, "x", 0.5, "asks")]


def test_it_is_told_again_when_a_task_is_resumed(scenario: Speaking) -> None:
    scenario.world.invoke("x", "asks")
    scenario.world.rest(0)
    scenario.taken()
    scenario.world.rest(CONFIG.linger_ms)
    assert scenario.task_state == "suspended"
    assert scenario.taken() == []
    scenario.settle("person", "yes")
    while scenario.node.inbox:
        scenario.node.deliver_in()
    assert scenario.taken() == [ProgressEntry("x", 2, "x", 0.5, "asks")]


def test_it_is_bounded(scenario: Speaking) -> None:
    for number in range(NEWS_MAX + 10):
        scenario.world.invoke(f"x{number}", "leaf", 1)
    progress = scenario.node.core.progress
    for _ in range(NEWS_MAX + 10):
        progress.note(object())  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        progress.take()  # those are no runs, and they are as many as may be
    assert progress.take() == []


class TestCanceled:
    def test_by_a_person(self, scenario: Speaking) -> None:
        def cancel() -> None:
            scenario.world.machine.apply(PromiseCancel("x"), scenario.world.now)
            scenario.world.settle()
            scenario.node.deliver_in()

        scenario.world.invoke("x", "speaks")
        scenario.node.deliver_in()
        scenario.meanwhile = cancel
        scenario.node.run_one()
        assert scenario.canceled == [True]
        assert scenario.taken() == [], "and of what is canceled nothing is told"

    def test_by_the_deadline(self, scenario: Speaking) -> None:
        def pass_deadline() -> None:
            assert ctx().remaining == 86_400
            scenario.world.now += 86_400_000
            assert ctx().remaining == 0
            scenario.world.settle()
            scenario.node.deliver_in()

        def ctx() -> Any:
            return scenario.contexts["x"]

        scenario.env.now_ms = lambda: scenario.world.now
        scenario.world.invoke("x", "speaks")
        scenario.node.deliver_in()
        scenario.meanwhile = pass_deadline
        scenario.node.run_one()
        assert scenario.canceled == [True]
        assert ctx().deadline == ctx().info.timeout == scenario.world.now / 1000

    def test_by_the_loss_of_the_lease(self, scenario: Speaking) -> None:
        def lose() -> None:
            scenario.node.cut()
            scenario.world.machine.release_pid(scenario.node.pid, scenario.world.now)
            scenario.node.join()

        scenario.world.invoke("x", "speaks")
        scenario.node.deliver_in()
        scenario.meanwhile = lose
        scenario.node.run_one()
        assert scenario.canceled == [True]

    def test_a_step_whose_task_goes_on(self, scenario: Speaking) -> None:
        def cancel() -> None:
            scenario.world.settle_down()
            scenario.world.machine.apply(PromiseCancel("x.1"), scenario.world.now)
            scenario.world.settle()
            while scenario.node.inbox:
                scenario.node.deliver_in()

        scenario.world.invoke("x", "steps")
        scenario.node.deliver_in()
        scenario.node.run_one()
        run = scenario.node.executor.queue.pop(0)
        assert run.routine.id == "x.1"
        scenario.meanwhile = cancel
        run.routine.step(scenario.world.now)
        assert scenario.canceled == [True]
        assert not scenario.world.record("x").settled
        assert "x" in scenario.node.core.activations

    def test_by_the_end_of_the_node(self, scenario: Speaking) -> None:
        scenario.world.invoke("x", "speaks")
        scenario.node.deliver_in()
        scenario.meanwhile = scenario.node.core.state.set_all_aside
        scenario.node.run_one()
        assert scenario.canceled == [True]

    def test_nobody_else(self, scenario: Speaking) -> None:
        scenario.call("speaks")
        assert scenario.canceled == [False]
