"""Calls that the store refuses: somebody hears of each, with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.actors.node.scenario import Scenario
from understudy_actors.errors import CommandError
from understudy_store.commands import PromiseCreate, TaskFence
from understudy_store.limits import ID_CHARS_MAX
from understudy_store.slots import slot_of

#: an id that no store takes, in the slot of the task "x": of another slot, a step would wait for it
BAD = next(id for n in range(5_000) if slot_of(id := f"a\nb{n}") == slot_of("x"))
REASON = r"contains a control character"


@pytest.fixture
def scenario() -> Scenario:
    return Scenario()


def call(scenario: Scenario, fn: Any) -> Any:
    scenario.env.registry.register(fn, name="fn")
    return scenario.call("fn")


def requests(ctx: Any, kind: str) -> Any:
    return {
        "detached": lambda: ctx.detached("leaf", 1),
        "rfi": lambda: ctx.rfi("leaf", 1),
        "rfc": lambda: ctx.rfc("leaf", 1),
        "lfi": lambda: ctx.lfi(leaf),
        "lfc": lambda: ctx.lfc(leaf),
        "promise": lambda: ctx.promise(),
    }[kind]().options(id=BAD)


def leaf(ctx: Any) -> int:
    return 1


class TestNobodyWaits:
    @pytest.mark.parametrize("kind", ["detached", "rfi", "lfi", "promise"])
    @pytest.mark.parametrize("last", [True, False])
    def test_the_maker_fails_with_the_reason(
        self, scenario: Scenario, kind: str, last: bool
    ) -> None:
        def fn(ctx: Any) -> Any:
            yield requests(ctx, kind)
            if not last:
                yield ctx.rfc("leaf", 1)
            return "done"

        with pytest.raises(CommandError, match=REASON) as caught:
            call(scenario, fn)
        assert caught.value.status == 400
        name = {"rfi": "rpc leaf", "lfi": "run leaf", "promise": "promise"}.get(
            kind, "detached leaf"
        )
        assert f"{name} at node/test_refusals.py:" in caught.value.error

    @pytest.mark.parametrize("kind", ["detached", "rfc", "lfi"])
    def test_calls_that_were_not_even_yielded(self, scenario: Scenario, kind: str) -> None:
        def fn(ctx: Any) -> Any:
            requests(ctx, kind)
            return "done"

        with pytest.raises(CommandError, match=REASON):
            call(scenario, fn)

    def test_the_makers_own_error_stays(self, scenario: Scenario) -> None:
        def fn(ctx: Any) -> Any:
            yield requests(ctx, "detached")
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            call(scenario, fn)

    def test_of_a_local_call_its_caller_hears(self, scenario: Scenario) -> None:
        def inner(ctx: Any) -> Any:
            yield requests(ctx, "detached")

        def fn(ctx: Any) -> Any:
            try:
                yield ctx.lfc(inner)
            except CommandError as error:
                return error.error

        assert "contains a control character" in call(scenario, fn)

    def test_it_is_logged(self, scenario: Scenario) -> None:
        lines: list[str] = []
        scenario.node.core.state.log = lines.append

        def fn(ctx: Any) -> Any:
            yield requests(ctx, "detached")

        with pytest.raises(CommandError):
            call(scenario, fn)
        (line,) = lines
        assert line.startswith("fn x: detached leaf at node/test_refusals.py:")
        assert "was refused: promise id" in line

    def test_an_id_that_belongs_to_another_call(self, scenario: Scenario) -> None:
        scenario.world.invoke("taken", "chain", 1)

        def fn(ctx: Any) -> Any:
            yield ctx.detached("leaf", 1).options(id="taken")

        with pytest.raises(CommandError, match="belongs to another call"):
            call(scenario, fn)


class TestSomebodyWaits:
    @pytest.mark.parametrize("kind", ["detached", "rfi", "rfc", "lfi", "lfc", "promise"])
    def test_the_wait_raises_the_reason_which_is_heard_then(
        self, scenario: Scenario, kind: str
    ) -> None:
        def fn(ctx: Any) -> Any:
            try:
                promise = yield requests(ctx, kind)
                yield promise
            except CommandError as error:
                return error.error

        text = call(scenario, fn)
        assert "contains a control character" in text, "the reason, and not that it does not exist"

    @pytest.mark.parametrize("how", ["all", "race"])
    def test_of_several(self, scenario: Scenario, how: str) -> None:
        def fn(ctx: Any) -> Any:
            calls = [ctx.rfi("leaf", n).options(id=f"{n}\n") for n in range(2)]
            try:
                yield ctx.all(calls) if how == "all" else ctx.race(calls)
            except CommandError as error:
                return error.error

        assert "contains a control character" in call(scenario, fn)


def test_a_quick_step_in_the_step_of_its_caller(scenario: Scenario) -> None:
    scenario.world.is_quick = lambda: True

    def fn(ctx: Any) -> Any:
        yield requests(ctx, "lfc")

    with pytest.raises(CommandError, match=REASON):
        call(scenario, fn)


def test_nothing_was_created_under_a_refused_id(scenario: Scenario) -> None:
    with pytest.raises(CommandError):
        call(scenario, lambda ctx: [(yield requests(ctx, "detached"))].clear())
    assert [record.id for record in scenario.world.machine.view.records()] == ["x"]


def test_a_create_that_is_answered_late_is_waited_for(scenario: Scenario) -> None:
    """The function has ended; its task has not, before the store has taken the last call."""

    def fn(ctx: Any) -> Any:
        yield ctx.detached("leaf", 1)
        return "done"

    scenario.env.registry.register(fn)
    scenario.world.invoke("x", "fn")
    node = scenario.node
    node.deliver_in()
    node.run_one()
    (asked,) = [command for command, _ in node.unanswered]
    assert isinstance(asked, TaskFence)
    assert [type(each) for each in asked.commands] == [PromiseCreate]
    assert node.core.running == 1, "it uses credit, and is not suspended"
    scenario.world.advance(1000)
    assert node.core.activations.keys() == {"x"}
    assert scenario.value(scenario.world.finish("x")) == "done"


@pytest.mark.parametrize("kind", ["lfc", "rfc"])
def test_recursion_to_a_great_depth(scenario: Scenario, kind: str) -> None:
    """Beyond a few hundred levels, ids are no longer readable; a replay finds them all."""

    def dig(ctx: Any, depth: int) -> Any:
        if not depth:
            return (yield (yield ctx.promise(id="bottom")))
        below = ctx.lfc(dig, depth - 1) if kind == "lfc" else ctx.rfc("dig", depth - 1)
        return 1 + (yield below)

    scenario.env.registry.register(dig)
    scenario.world.invoke("x", "dig", 400)
    scenario.world.rest(0)
    scenario.world.crash(scenario.node)
    scenario.world.add_node()
    scenario.world.rest(0)
    scenario.settle("bottom", 0)
    assert scenario.value(scenario.world.finish("x")) == 400
    ids = [record.id for record in scenario.world.machine.view.records()]
    assert max(map(len, ids)) <= ID_CHARS_MAX
