"""A step whose id is of another slot is performed only once its create has been answered.

The history of a task has nothing of other slots, so the step may have been performed already.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.actors.node.scenario import Scenario
from understudy_store.commands import PromiseCancel, PromiseCreate
from understudy_store.records import HEADER_KIND, TAG_BRANCH, Value
from understudy_store.slots import slot_of

#: the id of the step, of another slot than the task ``x`` that makes it
STEP = "away"


@pytest.fixture
def away(scenario: Scenario) -> Scenario:
    assert slot_of(STEP) != slot_of("x")

    def far(ctx: Any) -> Any:
        value = yield ctx.lfc(scenario.leaf, 1).options(id=STEP)
        yield ctx.rfc("chain", value)
        return value

    scenario.env.registry.register(far)
    return scenario


def until_the_create_is_sent(scenario: Scenario) -> None:
    scenario.world.invoke("x", "far")
    node = scenario.node
    while node.inbox:
        node.deliver_in()
    node.run_one()


class TestStepsElsewhere:
    def test_it_starts_once_its_create_is_answered(self, away: Scenario) -> None:
        until_the_create_is_sent(away)
        assert away.node.out, "the create is on its way"
        assert not away.node.executor.queue, "nothing may be performed yet"
        assert away.value(away.world.finish("x")) == 2
        assert away.ran[STEP] == 1

    def test_what_has_been_performed_is_not_performed_again(self, away: Scenario) -> None:
        created = PromiseCreate(STEP, away.world.now + 1_000_000, Value({}, b""), {TAG_BRANCH: "x"})
        assert away.world.machine.apply(created, away.world.now).ok
        away.settle(STEP, 7)
        assert away.call("far") == 7
        assert STEP not in away.ran

    def test_another_call_under_its_id_is_refused_and_left_alone(self, away: Scenario) -> None:
        created = PromiseCreate(
            STEP, away.world.now + 1_000_000, Value({HEADER_KIND: "promise"}, b""), {}
        )
        assert away.world.machine.apply(created, away.world.now).ok
        with pytest.raises(Exception, match=STEP):
            away.call("far")
        assert away.ran == {}
        assert not away.world.record(STEP).settled


def test_a_cancel_does_not_overtake_the_create_in_another_slot(away: Scenario) -> None:
    """A history that is replayed may win a race in the step that makes the losing call again."""
    until_the_create_is_sent(away)
    node = away.node
    [activation] = node.core.activations.values()
    node.core._fencing.cancel(activation, STEP)
    node.core._fencing.cancel(activation, "other")
    asked = [command for command, _ in node.unanswered if isinstance(command, PromiseCancel)]
    assert asked == [PromiseCancel("other")]
    node.deliver_out()
    node.deliver_in()
    asked = [command for command, _ in node.unanswered if isinstance(command, PromiseCancel)]
    assert asked == [PromiseCancel("other"), PromiseCancel(STEP)]
