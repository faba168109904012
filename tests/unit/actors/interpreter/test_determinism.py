"""Determinism: a replay sees the same time and random numbers, and changed code is found."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.actors.interpreter.harness import (
    START,
    Harness,
    creates,
    double,
)
from understudy_actors.errors import NonDeterminismError


class TestDeterminism:
    def test_time_random_and_uuid_are_the_same_in_a_replay(self) -> None:
        def inner(ctx: Any) -> Any:
            yield ctx.rfc("b")
            return [ctx.time, str(ctx.uuid())]

        def fn(ctx: Any) -> Any:
            begin = [ctx.time, ctx.random.random(), str(ctx.uuid())]
            yield ctx.rfc("a")
            return [begin, ctx.time, ctx.random.random(), (yield ctx.lfc(inner))]

        harness = Harness(fn)
        harness.now += 5000
        harness.resolve("root.1")
        assert creates(harness)[-1].id == "root.2.1"
        half = list(harness.promises.values())
        harness.resolve("root.2.1")
        again = Harness(fn, env=harness.env, records=half)
        again.now = harness.now - 1
        again.resolve("root.2.1")
        assert again.result == harness.result
        assert harness.result[1] == (START + 5001) / 1000

    def test_the_log_is_silent_while_replaying(self, caplog: pytest.LogCaptureFixture) -> None:
        def fn(ctx: Any) -> Any:
            ctx.log.info("one")
            yield ctx.rfc("a")
            ctx.log.info("two %s", 2)
            yield ctx.rfc("b")

        caplog.set_level("INFO", "understudy.function")
        harness = Harness(fn)
        assert [r.getMessage() for r in caplog.records] == ["fn root: one"]
        caplog.clear()
        harness.resolve("root.1")
        assert [r.getMessage() for r in caplog.records] == ["fn root: two 2"]
        caplog.clear()
        Harness(fn, env=harness.env, records=harness.promises.values())
        assert caplog.records == []

    def recorded(self, fn: Any) -> Harness:
        harness = Harness(fn)
        for id in harness.open():
            harness.resolve(id)
        return harness

    @staticmethod
    def old(ctx: Any) -> Any:
        yield ctx.rfi("a")
        yield ctx.lfi(double, 1)

    @pytest.mark.parametrize("change", ["kind", "name", "missing"])
    def test_changed_code_is_an_error_with_both_places(self, change: str) -> None:
        def new(ctx: Any) -> Any:
            try:
                if change == "kind":
                    yield ctx.sleep(1)
                elif change == "name":
                    yield ctx.rfi("b")
                else:
                    return "nothing"
            except Exception:
                return "swallowed"

        history = self.recorded(self.old).promises.values()
        with pytest.raises(NonDeterminismError) as caught:
            _ = Harness(new, records=history).result
        error = caught.value
        assert error.promise == "root.1"
        assert error.recorded == "rfi a"
        assert "test_determinism.py:" in error.recorded_at
        assert "test_determinism.py:" in error.asked_at
        assert error.asked == {"kind": "sleep", "name": "rfi b"}.get(change, "nothing: it ended")

    def test_calls_beyond_the_recorded_ones_are_made(self) -> None:
        def new(ctx: Any) -> Any:
            yield from self.old(ctx)
            return (yield ctx.rfc("c"))

        harness = Harness(new, records=self.recorded(self.old).promises.values())
        harness.resolve("root.3", 3)
        assert harness.result == 3

    def test_a_childs_own_non_determinism_can_be_caught(self) -> None:
        def fn(ctx: Any) -> Any:
            try:
                yield ctx.rfc("a")
            except NonDeterminismError as error:
                return error.promise

        harness = Harness(fn)
        failure = NonDeterminismError("child", "rfi x", "rfi y")
        harness.reject("root.1", failure)
        assert harness.result == "child"
        assert Harness(fn, env=harness.env, records=harness.promises.values()).result == "child"

    def test_a_race_recorded_but_not_decided_is_decided(self) -> None:
        def fn(ctx: Any) -> Any:
            a = yield ctx.rfi("a")
            return (yield ctx.race([a]))

        harness = Harness(fn)
        harness.resolve("root.1", 1)
        records = [r for r in harness.log if not r.settled] + [harness.promises["root.1"]]
        assert {r.id for r in records} == {"root.1", "root.2"}
        assert Harness(fn, env=harness.env, records=records).result == 1
