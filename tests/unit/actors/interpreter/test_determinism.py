"""Determinism: a replay sees the same time and random numbers, and changed code is found."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.actors.interpreter.harness import (
    START,
    Harness,
    creates,
    double,
)
from understudy_actors.errors import CommandError, NonDeterminismError
from understudy_store.records import Value


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
        assert error.recorded == "rpc a"
        assert "test_determinism.py:" in error.recorded_at
        assert "test_determinism.py:" in error.asked_at
        assert error.asked == {"kind": "sleep", "name": "rpc b"}.get(change, "nothing: it ended")

    def changed(self, old: Any, new: Any) -> NonDeterminismError:
        """Record `old`, replay `new`, and return the mismatch, before which nothing was created."""
        harness = Harness(new, records=self.recorded(old).promises.values())
        with pytest.raises(NonDeterminismError) as caught:
            _ = harness.result
        assert creates(harness) == []
        return caught.value

    @pytest.mark.parametrize("kind", ["rfi", "rfc", "lfi", "lfc", "promise", "detached"])
    @pytest.mark.parametrize(
        ("was", "becomes"), [("one", "two"), ("one", None), (None, "two"), ("one", "root.9")]
    )
    def test_another_id_in_the_same_place_is_found_before_the_call_is_made(
        self, kind: str, was: str | None, becomes: str | None
    ) -> None:
        def calling(id: str | None) -> Any:
            def fn(ctx: Any) -> Any:
                call = {
                    "rfi": lambda: ctx.rfi("a"),
                    "rfc": lambda: ctx.rfc("a"),
                    "lfi": lambda: ctx.lfi(double, 1),
                    "lfc": lambda: ctx.lfc(double, 1),
                    "promise": lambda: ctx.promise(),
                    "detached": lambda: ctx.detached("a"),
                }[kind]()
                yield call.options(id=id) if id is not None else call
                yield ctx.rfc("b")

            return fn

        error = self.changed(calling(was), calling(becomes))
        assert error.promise == "root.1"
        assert f"with the id {was or 'root.1'}" in error.recorded
        assert f"with the id {becomes or 'root.1'}" in error.asked

    def test_the_function_cannot_catch_it_and_go_on(self) -> None:
        ran: list[str] = []

        def new(ctx: Any) -> Any:
            for _ in range(3):  # beyond the history, where a call would be a new one
                try:
                    yield ctx.sleep(1)
                except BaseException:
                    ran.append("except")
                finally:
                    ran.append("finally")

        assert self.changed(self.old, new).promise == "root.1"
        assert ran == []

    def test_calls_with_ids_of_their_own_may_not_change_places(self) -> None:
        def fn(ctx: Any, ids: str = "xy") -> Any:
            for id in ids:
                yield ctx.rfi("a").options(id=id)

        error = self.changed(fn, lambda ctx: (yield from fn(ctx, "yx")))
        assert (error.promise, error.recorded) == ("root.1", "rpc a with the id x")

    def test_a_call_that_moves_behind_a_new_one_is_found(self) -> None:
        def old(ctx: Any) -> Any:
            ctx.sleep(1)  # never yielded, so its place stays empty
            yield ctx.rfc("a").options(id="x")

        def new(ctx: Any) -> Any:
            yield ctx.rfc("a").options(id="x")

        error = self.changed(old, new)
        assert (error.recorded, error.asked) == ("rpc a as root.2", "rpc a as root.1")

    def test_the_same_id_twice_is_one_call_also_in_a_replay(self) -> None:
        def fn(ctx: Any) -> Any:
            first = yield ctx.rfc("a").options(id="x")
            yield ctx.rfc("b")
            return [first, (yield ctx.rfc("a").options(id="x"))]

        harness = Harness(fn)
        harness.resolve("x", 1)
        harness.resolve("root.2", 2)
        assert harness.result == [1, 1]
        assert Harness(fn, env=harness.env, records=harness.promises.values()).result == [1, 1]

    def test_the_same_id_for_another_call_is_refused_alike_in_run_and_replay(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.rfc("a").options(id="x")
            try:
                yield ctx.rfc("b").options(id="x")
            except CommandError as error:
                return str(error)

        harness = Harness(fn)
        harness.resolve("x", 1)
        assert "the id 'x' belongs to another call (rpc a at " in harness.result
        again = Harness(fn, env=harness.env, records=harness.promises.values())
        assert again.result == harness.result

    @pytest.mark.parametrize("step", [False, True], ids=["task", "step"])
    def test_a_call_cannot_have_the_id_of_its_caller(self, step: bool) -> None:
        def inner(ctx: Any) -> Any:
            with pytest.raises(CommandError, match=r"rpc a at \S+:\d+ has the id 'root'"):
                yield ctx.rfc("a").options(id="root")
            return "refused"

        def outer(ctx: Any) -> Any:
            return (yield ctx.lfc(inner))

        assert Harness(outer if step else inner).result == "refused"

    def test_calls_with_ids_of_their_own_recorded_without_a_place_go_on(self) -> None:
        def fn(ctx: Any) -> Any:
            return (yield ctx.rfc("a").options(id="x"))

        harness = Harness(fn)
        harness.resolve("x", 1)
        record = harness.promises["x"]
        headers = {k: v for k, v in record.param.headers.items() if k != "place"}
        old = msgspec.structs.replace(record, param=Value(headers, record.param.data))
        assert Harness(fn, env=harness.env, records=[old]).result == 1

    def test_a_function_that_raises_in_a_replay_says_what(self) -> None:
        def new(ctx: Any) -> Any:
            yield ctx.rfi("a")
            raise KeyError("gone")

        error = self.changed(self.old, new)
        assert error.asked == "nothing: it ended with KeyError('gone')"
        assert isinstance(error.__cause__, KeyError)

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
