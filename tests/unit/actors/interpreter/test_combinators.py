"""all, race and map: their values, their order, and the waits that they cause."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.actors.interpreter.harness import (
    Harness,
    double,
)
from understudy_actors.interpreter.wait import Wait, kept
from understudy_store.records import (
    HEADER_KIND,
    TAG_TARGET,
)


class TestCombinators:
    def test_all_gives_values_in_order(self) -> None:
        def fn(ctx: Any) -> Any:
            one = yield ctx.rfi("a", 1)
            return (yield ctx.all([one, ctx.rfc("b", 2), ctx.sleep(1), ctx.lfi(double, 3), one]))

        harness = Harness(fn)
        for id in ("root.3", "root.2", "root.1"):
            assert harness.outcome is None
            harness.resolve(id, id)
        assert harness.result == ["root.1", "root.2", "root.3", 6, "root.1"]

    def test_all_of_nothing(self) -> None:
        def fn(ctx: Any) -> Any:
            return (yield ctx.all([]))

        assert Harness(fn).result == []

    def test_all_raises_the_first_failure_in_order_after_all_have_settled(self) -> None:
        def fn(ctx: Any) -> Any:
            try:
                yield ctx.all([ctx.rfi("a", 1), ctx.rfi("b", 2), ctx.rfi("c", 3)])
            except ValueError as error:
                return str(error)

        harness = Harness(fn)
        harness.reject("root.3", ValueError("three"))
        harness.reject("root.2", ValueError("two"))
        assert harness.outcome is None
        harness.resolve("root.1")
        assert harness.result == "two"

    def test_race_gives_the_first_and_stores_which(self) -> None:
        def fn(ctx: Any) -> Any:
            return (yield ctx.race([ctx.rfi("a", 1), ctx.rfi("b", 2)]))

        harness = Harness(fn)
        harness.resolve("root.2", "quick")
        race = harness.promises["root.3"]
        assert race.param.headers[HEADER_KIND] == "race"
        assert harness.env.values.decode_value(race.value.data) == 1, "the second, counted from 0"
        assert harness.outcome is None, "the loser goes on, and is waited for"
        harness.resolve("root.1", "slow")
        assert harness.result == "quick"
        assert harness.canceled == []

    def test_race_is_decided_once(self) -> None:
        def fn(ctx: Any) -> Any:
            a = yield ctx.rfi("a", 1)
            b = yield ctx.rfi("b", 2)
            return (yield ctx.race([a, b]))

        harness = Harness(fn)
        harness.resolve("root.2", "quick")
        harness.resolve("root.1", "slow")
        assert harness.result == "quick"
        again = Harness(fn, env=harness.env, records=harness.promises.values())
        assert again.result == "quick"

    def test_the_first_to_settle_wins_a_race_that_is_decided_late(self) -> None:
        def fn(ctx: Any) -> Any:
            a = yield ctx.rfi("a", 1)
            b = yield ctx.rfi("b", 2)
            return (yield ctx.race([a, b]))

        harness = Harness(fn)
        harness.resolve("root.2", "quick")
        harness.resolve("root.1", "slow")
        known = [harness.promises["root.1"], harness.promises["root.2"]]
        assert Harness(fn, env=harness.env, records=known).result == "quick"

    def test_a_race_wakes_on_any_promise_and_all_on_one(self) -> None:
        def races(ctx: Any) -> Any:
            yield ctx.race([ctx.rfi("a", 1), ctx.rfi("b", 2), ctx.rfi("c", 3)])

        def waits(ctx: Any) -> Any:
            yield ctx.all([ctx.rfi("a", 1), ctx.rfi("b", 2), ctx.rfi("c", 3)])

        assert sorted(Harness(races).awaited) == ["root.1", "root.2", "root.3"]
        assert len(Harness(waits).awaited) == 1

    def test_race_cancels_the_losers_if_asked(self) -> None:
        def fn(ctx: Any) -> Any:
            a = yield ctx.rfi("a", 1)
            b = yield ctx.rfi("b", 2)
            c = yield ctx.rfi("c", 3)
            return (yield ctx.race([a, b, c], cancel=True))

        harness = Harness(fn)
        harness.reject("root.2", KeyError("x"))
        assert harness.canceled == ["root.1", "root.3"]
        harness.resolve("root.1")
        harness.resolve("root.3")
        with pytest.raises(KeyError):
            _ = harness.result

    def test_race_of_nothing_is_an_error_at_the_yield(self) -> None:
        def fn(ctx: Any) -> Any:
            try:
                yield ctx.race([])
            except ValueError as error:
                return str(error)

        assert "at least one" in Harness(fn).result

    @pytest.mark.parametrize("window", [1, 2, 3, None])
    def test_map_has_at_most_window_calls_pending(self, window: int | None) -> None:
        def fn(ctx: Any) -> Any:
            return (yield ctx.map("f", range(7), window=window, target="h"))

        harness = Harness(fn)
        while harness.outcome is None:
            assert len(harness.open()) <= (window or 7)
            assert all(
                harness.promises[i].tags[TAG_TARGET] == "poll://any@h" for i in harness.open()
            )
            harness.resolve(harness.open()[-1], harness.open()[-1])
        assert harness.result == [f"root.{n}" for n in range(1, 8)]

    def test_map_goes_on_when_any_call_of_its_window_settles(self) -> None:
        def fn(ctx: Any) -> Any:
            return (yield ctx.map("f", range(4), window=2))

        harness = Harness(fn)
        assert harness.awaited == ["root.1", "root.2"], "any of them will do"
        harness.resolve("root.2")
        assert harness.open() == ["root.1", "root.3"]
        assert harness.awaited == ["root.1", "root.3"]

    def test_a_settlement_that_is_told_twice_counts_once(self) -> None:
        wait = Wait(("a", "b", "c"), 2, kept(None, None))
        wait.hit("a")
        wait.hit("a")
        assert not wait.ready
        assert wait.wake_on() == ["b", "c"]
        wait.hit("c")
        assert wait.ready

    def test_map_inside_map_of_a_coroutine(self) -> None:
        async def fn(ctx: Any) -> Any:
            first = await ctx.map("f", range(2))
            return first + await ctx.map("f", range(0))

        harness = Harness(fn)
        harness.resolve("root.1", 1)
        harness.resolve("root.2", 2)
        assert harness.result == [1, 2]

    def test_a_failing_iterable_fails_at_the_yield(self) -> None:
        def items() -> Any:
            yield 1
            raise OSError("no more")

        def fn(ctx: Any) -> Any:
            try:
                yield ctx.map("f", items())
            except OSError as error:
                return str(error)

        harness = Harness(fn)
        harness.resolve("root.1")
        assert harness.result == "no more"

    def test_window_is_checked_at_the_call(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.map("f", [1], window=0)

        with pytest.raises(ValueError, match="window=0"):
            _ = Harness(fn).result
