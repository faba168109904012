"""Homes of calls: everything that a function makes lives where it does, unless `home` says."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.actors.interpreter.harness import Harness, creates, double
from understudy import Runtime
from understudy.errors import ConfigurationError
from understudy.testing import crash_everywhere
from understudy_actors.errors import NonDeterminismError
from understudy_actors.interpreter.strands import Strand
from understudy_store.records import HEADER_PLACE, TAG_BRANCH, TAG_ORIGIN, PromiseRecord
from understudy_store.slots import home_of


def spread(ctx: Any, parts: tuple[str, ...] = ("part-1", "part-2")) -> Any:
    first, second = parts
    one = yield ctx.rfi("a").options(home=first)
    two = yield ctx.rfi("a").options(home=second)
    here = yield ctx.rfc("a")
    return [here, (yield ctx.all([one, two]))]


class TestDefaultIds:
    def test_everything_that_a_function_makes_shares_its_home(self) -> None:
        def inner(ctx: Any) -> Any:
            yield ctx.rfi("a")

        def fn(ctx: Any) -> Any:
            yield ctx.rfi("a")
            yield ctx.lfi(inner)
            yield ctx.lfc(double, 1)
            yield ctx.detached("a")
            answer = yield ctx.promise()
            yield ctx.all([ctx.rfi("a"), ctx.map("a", [1, 2])])
            yield ctx.race([answer, ctx.sleep(1)])

        harness = Harness(fn)
        for _ in range(20):
            for id in harness.open():
                harness.resolve(id)
        kinds = {record.param.headers["kind"] for record in harness.promises.values()}
        assert kinds == {"rfi", "lfi", "detached", "promise", "sleep", "race"}
        assert {home_of(id) for id in harness.promises} == {"root"}

    def test_so_do_the_strands_of_its_tasks(self) -> None:
        strand = Strand("order-7", 0).branch("shop.fetch.<locals>.one").branch("2.0")
        assert strand.next_id() == "order-7.one-1.0-1.1"
        assert home_of(strand.next_id()) == "order-7"


class TestHomeOfACall:
    def test_its_id_is_that_of_its_place_under_the_home(self) -> None:
        harness = Harness(spread)
        made = {create.id: create for create in creates(harness)}
        assert list(made) == ["part-1.root.1", "part-2.root.2", "root.3"]
        moved = made["part-1.root.1"]
        assert moved.param.headers[HEADER_PLACE] == "root.1"
        assert HEADER_PLACE not in made["root.3"].param.headers
        # It is in the call graph of its caller, and in its preload.
        assert moved.tags[TAG_ORIGIN] == moved.tags[TAG_BRANCH] == "root"

    def test_a_replay_finds_it(self) -> None:
        harness = Harness(spread)
        for id in harness.open():
            harness.resolve(id, id)
        expected = ["root.3", ["part-1.root.1", "part-2.root.2"]]
        assert harness.result == expected
        again = Harness(spread, env=harness.env, records=harness.promises.values())
        assert again.result == expected
        assert creates(again) == []

    def history(self) -> list[PromiseRecord]:
        harness = Harness(spread)
        for id in harness.open():
            harness.resolve(id)
        return list(harness.promises.values())

    @pytest.mark.parametrize(
        ("parts", "asked"),
        [
            (("part-3", "part-2"), "with the id part-3.root.1"),
            (("part-2", "part-1"), "with the id part-2.root.1"),
            (("root", "part-2"), "with the id root.1"),
        ],
    )
    def test_another_home_is_another_call(self, parts: tuple[str, ...], asked: str) -> None:
        def changed(ctx: Any) -> Any:
            return (yield from spread(ctx, parts))

        with pytest.raises(NonDeterminismError) as caught:
            _ = Harness(changed, records=self.history()).result
        assert caught.value.recorded.endswith("with the id part-1.root.1")
        assert caught.value.asked.endswith(asked)

    def test_what_it_calls_lives_with_it(self) -> None:
        assert home_of(Strand("part-1.root.1", 0).next_id()) == "part-1"

    def test_a_call_that_lives_there_anyway_keeps_its_id(self) -> None:
        harness = Harness(lambda ctx: (yield ctx.rfi("a").options(home="root")))
        [create] = creates(harness)
        assert create.id == "root.1"
        assert HEADER_PLACE not in create.param.headers

    @pytest.mark.parametrize("kind", ["rfi", "rfc", "detached", "promise"])
    def test_calls_and_promises_may_live_elsewhere(self, kind: str) -> None:
        def fn(ctx: Any) -> Any:
            call = ctx.promise() if kind == "promise" else getattr(ctx, kind)("a")
            yield call.options(home="part-1")

        assert [create.id for create in creates(Harness(fn))] == ["part-1.root.1"]

    @pytest.mark.parametrize("kind", ["lfi", "lfc", "sleep"])
    def test_a_part_of_the_function_itself_may_not(self, kind: str) -> None:
        def fn(ctx: Any) -> Any:
            call = ctx.sleep(1) if kind == "sleep" else getattr(ctx, kind)(double, 1)
            with pytest.raises(ConfigurationError, match=r"option home='part-1' of .*: it "):
                call.options(home="part-1")
            refused.append(kind)
            yield call

        refused: list[str] = []
        Harness(fn)
        assert refused == [kind]


class TestIdAndHome:
    def made(self, *options: dict[str, Any]) -> str:
        def fn(ctx: Any) -> Any:
            call = ctx.rfi("a")
            for each in options:
                call.options(**each)
            yield call

        [create] = creates(Harness(fn))
        assert (create.param.headers.get(HEADER_PLACE) == "root.1") == (create.id != "root.1")
        return create.id

    def test_they_agree(self) -> None:
        id, home = {"id": "part-1.x"}, {"home": "part-1"}
        assert self.made(id | home) == "part-1.x"
        assert self.made(id, home) == self.made(home, id) == "part-1.x"
        assert self.made(home, {"home": "part-2"}) == "part-2.root.1"
        assert self.made(home, {"timeout": 5}, home) == "part-1.root.1"
        assert self.made(home, {"home": "root"}) == "root.1"

    @pytest.mark.parametrize(
        ("before", "last"),
        [
            ({}, {"id": "order-8.x", "home": "part-1"}),
            ({"id": "order-8.x"}, {"home": "part-1"}),
            ({"home": "part-1"}, {"id": "order-8.x"}),
        ],
    )
    def test_or_the_call_is_refused(self, before: dict[str, Any], last: dict[str, Any]) -> None:
        def fn(ctx: Any) -> Any:
            call = ctx.rfi("a").options(**before)
            with pytest.raises(ConfigurationError) as caught:
                call.options(**last)
            said.append(str(caught.value))
            # It is as it was.
            yield call.options(**before)

        said: list[str] = []
        Harness(fn)
        (text,) = said
        assert text == (
            "option home='part-1': the id 'order-8.x' has the home 'order-8', which is its text "
            "before the first dot. Write 'part-1.order-8.x' as the id, or leave out the home"
        )


def test_after_any_crash_the_same_calls_are_found() -> None:
    runtime = Runtime(group="homes")

    @runtime.register
    def part(ctx: Any, number: int) -> Any:
        return ctx.id, (yield ctx.run(double, number))

    @runtime.register
    def whole(ctx: Any) -> Any:
        calls = [ctx.begin_rpc(part, number) for number in range(2)]
        return (yield ctx.all([call.options(home=f"part-{n}") for n, call in enumerate(calls)]))

    report = crash_everywhere.on(runtime, id="whole-1")(whole)
    assert [tuple(each) for each in report.result] == [
        ("part-0.whole-1.1", 0),
        ("part-1.whole-1.2", 2),
    ]
