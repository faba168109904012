"""The interpreter: what each request asks for and gives, one routine driven by hand."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.actors.interpreter.playing import DAY_MS, ROOT, START, Play, environment
from understudy.errors import (
    CanceledError,
    ConfigurationError,
    DeadlineExceededError,
    EncodingError,
)
from understudy.retry import Constant, Never
from understudy_actors.errors import NonDeterminismError
from understudy_actors.interpreter import routine as routine_module
from understudy_actors.interpreter.routine import Routine
from understudy_actors.interpreter.step_result import StepResult
from understudy_store.commands import PromiseCreate
from understudy_store.records import (
    CANCELED,
    HEADER_FUNCTION,
    HEADER_KIND,
    HEADER_RETRY,
    HEADER_SITE,
    HEADER_VERSION,
    TAG_BRANCH,
    TAG_DELAY,
    TAG_EXTERNAL,
    TAG_ORIGIN,
    TAG_PARENT,
    TAG_PRIORITY,
    TAG_SCOPE,
    TAG_TARGET,
    TAG_TIMER,
    TIMEDOUT,
    Value,
)


def double(ctx: Any, n: int) -> int:
    return 2 * n


def creates(play: Play) -> list[PromiseCreate]:
    return [c for o in play.outputs for c in o.commands if isinstance(c, PromiseCreate)]


class TestCalls:
    def test_rfc_waits_for_the_value(self) -> None:
        def fn(ctx: Any) -> Any:
            value = yield ctx.rfc("bar", 1)
            return [value]

        play = Play(fn)
        (create,) = creates(play)
        assert create.id == "root.1"
        assert create.param.headers[HEADER_KIND] == "rfi"
        assert create.param.headers[HEADER_FUNCTION] == "bar"
        assert create.param.headers[HEADER_SITE].startswith("interpreter/test_requests.py:")
        assert create.tags == {TAG_ORIGIN: ROOT, TAG_BRANCH: ROOT, TAG_TARGET: "poll://any@g"}
        assert play.outcome is None
        play.resolve("root.1", 7)
        assert play.result == [7]

    def test_rfi_gives_a_promise_at_once(self) -> None:
        def fn(ctx: Any) -> Any:
            first = yield ctx.rfi("bar", 1)
            second = yield ctx.rfi("bar", 2)
            return [(yield second), (yield first), (yield first)]

        play = Play(fn)
        assert [c.id for c in creates(play)] == ["root.1", "root.2"]
        play.resolve("root.1", "a")
        assert play.outcome is None
        play.resolve("root.2", "b")
        assert play.result == ["b", "a", "a"]

    def test_yield_from_and_await_are_the_same_as_yield(self) -> None:
        def generator(ctx: Any) -> Any:
            promise = yield from ctx.rfi("bar", 1)
            return (yield from promise)

        async def coroutine(ctx: Any) -> Any:
            promise = await ctx.rfi("bar", 1)
            return await promise

        for fn in (generator, coroutine):
            play = Play(fn)
            play.resolve("root.1", 5)
            assert play.result == 5

    def test_a_registered_function_goes_by_its_name_and_brings_its_deadline(self) -> None:
        env = environment()
        env.registry.register(double, name="twice", timeout_s=2)

        def fn(ctx: Any) -> Any:
            return (yield ctx.rfc(double, 4))

        (create,) = creates(Play(fn, env=env))
        assert create.param.headers[HEADER_FUNCTION] == "twice"
        assert create.timeout_at == START + 2000

    def test_a_local_call_is_a_step_with_a_result_of_its_own(self) -> None:
        def fn(ctx: Any) -> Any:
            one = yield ctx.lfc(double, 1)
            two = yield ctx.lfi(double, 2)
            return [one, (yield two)]

        play = Play(fn)
        assert play.result == [2, 4]
        assert [c.id for c in creates(play)] == ["root.1", "root.2"]
        assert creates(play)[0].tags[TAG_SCOPE] == "local"
        assert creates(play)[0].param.data is None, "the arguments of a step need not be stored"

    def test_children_of_a_local_step_name_it_as_their_parent(self) -> None:
        def inner(ctx: Any) -> Any:
            return (yield ctx.rfc("bar", 1))

        def fn(ctx: Any) -> Any:
            return (yield ctx.lfc(inner))

        play = Play(fn)
        child = play.promises["root.1.1"]
        assert child.tags[TAG_PARENT] == "root.1"
        assert child.tags[TAG_BRANCH] == ROOT
        play.resolve("root.1.1", 3)
        assert play.result == 3

    def test_calls_that_nobody_yields_are_made_in_order(self) -> None:
        def fn(ctx: Any) -> Any:
            ctx.rfi("a", 1)
            ctx.rfi("b", 2).options(tags={"k": "v"})
            yield ctx.rfc("c", 3)
            ctx.rfi("d", 4)
            return "end"

        play = Play(fn)
        assert [c.param.headers[HEADER_FUNCTION] for c in creates(play)] == ["a", "b", "c"]
        assert creates(play)[1].tags["k"] == "v"
        play.resolve("root.3")
        assert [c.id for c in creates(play)][-1] == "root.4"
        assert play.outcome is None, "it ends after its children"
        for id in ("root.1", "root.2", "root.4"):
            play.resolve(id)
        assert play.result == "end"

    def test_a_plain_function_may_start_calls_too(self) -> None:
        def fn(ctx: Any) -> str:
            ctx.rfi("a", 1)
            return "end"

        play = Play(fn)
        assert [c.id for c in creates(play)] == ["root.1"]
        play.resolve("root.1")
        assert play.result == "end"

    def test_a_promise_is_for_the_outside(self) -> None:
        def fn(ctx: Any) -> Any:
            given = yield ctx.promise(id="approval", timeout=5)
            own = yield ctx.promise()
            return [given.id, own.id, (yield given)]

        play = Play(fn)
        one, two = creates(play)
        assert (one.id, two.id) == ("approval", "root.2")
        assert one.tags[TAG_EXTERNAL] == "true"
        assert one.timeout_at == START + 5000
        play.resolve("approval", "yes")
        assert play.result == ["approval", "root.2", "yes"], "a promise does not hold it up"

    def test_a_sleep_is_a_timer(self) -> None:
        def fn(ctx: Any) -> Any:
            return (yield ctx.sleep(2.5))

        play = Play(fn)
        (create,) = creates(play)
        assert create.tags[TAG_TIMER] == "true"
        assert create.timeout_at == START + 2500
        play.settle("root.1")
        assert play.result is None

    def test_a_detached_call_is_a_root_of_its_own(self) -> None:
        def fn(ctx: Any) -> Any:
            promise = yield ctx.detached("bar", 1).options(timeout=10 * DAY_MS / 1000)
            return promise.id

        play = Play(fn)
        (create,) = creates(play)
        assert TAG_ORIGIN not in create.tags
        assert create.tags[TAG_SCOPE] == "detached"
        assert create.timeout_at > play.root.record.timeout_at, "its deadline is its own"
        assert play.result == "root.1", "nobody waits for it"


class TestCombinators:
    def test_all_gives_values_in_order(self) -> None:
        def fn(ctx: Any) -> Any:
            one = yield ctx.rfi("a", 1)
            return (yield ctx.all([one, ctx.rfc("b", 2), ctx.sleep(1), ctx.lfi(double, 3), one]))

        play = Play(fn)
        for id in ("root.3", "root.2", "root.1"):
            assert play.outcome is None
            play.resolve(id, id)
        assert play.result == ["root.1", "root.2", "root.3", 6, "root.1"]

    def test_all_of_nothing(self) -> None:
        def fn(ctx: Any) -> Any:
            return (yield ctx.all([]))

        assert Play(fn).result == []

    def test_all_raises_the_first_failure_in_order_after_all_have_settled(self) -> None:
        def fn(ctx: Any) -> Any:
            try:
                yield ctx.all([ctx.rfi("a", 1), ctx.rfi("b", 2), ctx.rfi("c", 3)])
            except ValueError as error:
                return str(error)

        play = Play(fn)
        play.reject("root.3", ValueError("three"))
        play.reject("root.2", ValueError("two"))
        assert play.outcome is None
        play.resolve("root.1")
        assert play.result == "two"

    def test_race_gives_the_first_and_stores_which(self) -> None:
        def fn(ctx: Any) -> Any:
            return (yield ctx.race([ctx.rfi("a", 1), ctx.rfi("b", 2)]))

        play = Play(fn)
        play.resolve("root.2", "quick")
        race = play.promises["root.3"]
        assert race.param.headers[HEADER_KIND] == "race"
        assert play.env.values.decode_value(race.value.data) == 1, "the second, counted from 0"
        assert play.outcome is None, "the loser goes on, and is waited for"
        play.resolve("root.1", "slow")
        assert play.result == "quick"
        assert play.canceled == []

    def test_race_is_decided_once(self) -> None:
        def fn(ctx: Any) -> Any:
            a = yield ctx.rfi("a", 1)
            b = yield ctx.rfi("b", 2)
            return (yield ctx.race([a, b]))

        play = Play(fn)
        play.resolve("root.2", "quick")
        play.resolve("root.1", "slow")
        assert play.result == "quick"
        again = Play(fn, env=play.env, records=play.promises.values())
        assert again.result == "quick"

    def test_a_race_that_is_decided_late_is_won_by_the_first_to_settle(self) -> None:
        def fn(ctx: Any) -> Any:
            a = yield ctx.rfi("a", 1)
            b = yield ctx.rfi("b", 2)
            return (yield ctx.race([a, b]))

        play = Play(fn)
        play.resolve("root.2", "quick")
        play.resolve("root.1", "slow")
        known = [play.promises["root.1"], play.promises["root.2"]]
        assert Play(fn, env=play.env, records=known).result == "quick"

    def test_a_race_is_woken_by_any_and_all_by_one(self) -> None:
        def races(ctx: Any) -> Any:
            yield ctx.race([ctx.rfi("a", 1), ctx.rfi("b", 2), ctx.rfi("c", 3)])

        def waits(ctx: Any) -> Any:
            yield ctx.all([ctx.rfi("a", 1), ctx.rfi("b", 2), ctx.rfi("c", 3)])

        assert Play(races).root.wake_on() == ["root.1", "root.2", "root.3"]
        assert len(Play(waits).root.wake_on()) == 1

    def test_race_cancels_the_losers_if_asked(self) -> None:
        def fn(ctx: Any) -> Any:
            a = yield ctx.rfi("a", 1)
            b = yield ctx.rfi("b", 2)
            c = yield ctx.rfi("c", 3)
            return (yield ctx.race([a, b, c], cancel=True))

        play = Play(fn)
        play.reject("root.2", KeyError("x"))
        assert play.canceled == ["root.1", "root.3"]
        play.resolve("root.1")
        play.resolve("root.3")
        with pytest.raises(KeyError):
            _ = play.result

    def test_race_of_nothing_is_an_error_at_the_yield(self) -> None:
        def fn(ctx: Any) -> Any:
            try:
                yield ctx.race([])
            except ValueError as error:
                return str(error)

        assert "at least one" in Play(fn).result

    @pytest.mark.parametrize("window", [1, 2, 3, None])
    def test_map_keeps_at_most_window_under_way(self, window: int | None) -> None:
        def fn(ctx: Any) -> Any:
            return (yield ctx.map("f", range(7), window=window, target="h"))

        play = Play(fn)
        while play.outcome is None:
            assert len(play.open()) <= (window or 7)
            assert all(play.promises[i].tags[TAG_TARGET] == "poll://any@h" for i in play.open())
            play.resolve(play.open()[-1], play.open()[-1])
        assert play.result == [f"root.{n}" for n in range(1, 8)]

    def test_map_waits_for_any_of_its_window(self) -> None:
        def fn(ctx: Any) -> Any:
            return (yield ctx.map("f", range(4), window=2))

        play = Play(fn)
        play.resolve("root.2")
        assert play.open() == ["root.1", "root.3"]

    def test_map_inside_map_of_a_coroutine(self) -> None:
        async def fn(ctx: Any) -> Any:
            first = await ctx.map("f", range(2))
            return first + await ctx.map("f", range(0))

        play = Play(fn)
        play.resolve("root.1", 1)
        play.resolve("root.2", 2)
        assert play.result == [1, 2]

    def test_a_failing_iterable_fails_at_the_yield(self) -> None:
        def items() -> Any:
            yield 1
            raise OSError("no more")

        def fn(ctx: Any) -> Any:
            try:
                yield ctx.map("f", items())
            except OSError as error:
                return str(error)

        play = Play(fn)
        play.resolve("root.1")
        assert play.result == "no more"

    def test_window_is_checked_at_the_call(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.map("f", [1], window=0)

        with pytest.raises(ValueError, match="window=0"):
            _ = Play(fn).result


class TestErrors:
    def test_a_failure_arrives_as_what_it_was(self) -> None:
        def fn(ctx: Any) -> Any:
            try:
                yield ctx.rfc("a", 1)
            except KeyError as error:
                return [type(error).__name__, *error.args]

        play = Play(fn)
        play.reject("root.1", KeyError("k", 2))
        assert play.result == ["KeyError", "k", 2]

    def test_an_uncaught_failure_goes_on_to_the_caller(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.rfc("a", 1)

        play = Play(fn)
        play.reject("root.1", ZeroDivisionError("by zero"))
        with pytest.raises(ZeroDivisionError, match="by zero"):
            _ = play.result

    @pytest.mark.parametrize(
        ("state", "error"), [(TIMEDOUT, DeadlineExceededError), (CANCELED, CanceledError)]
    )
    def test_deadline_and_cancel(self, state: Any, error: type[Exception]) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.rfc("a", 1)

        play = Play(fn)
        play._settle("root.1", state, Value({}))
        with pytest.raises(error):
            _ = play.result

    @pytest.mark.parametrize("thing", [1, None, "bar", [1], object()])
    def test_a_yield_of_what_is_no_request_says_so_at_the_yield(self, thing: Any) -> None:
        def fn(ctx: Any) -> Any:
            try:
                yield thing
            except TypeError as error:
                return str(error)

        text = Play(fn).result
        assert text.startswith("fn yielded")
        assert "is no request: yield what ctx makes" in text

    def test_a_combinator_says_what_is_no_promise(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.all([1])

        with pytest.raises(TypeError, match="1 is no promise"):
            _ = Play(fn).result

    def test_an_argument_that_cannot_be_encoded_is_named_at_the_call(self) -> None:
        def fn(ctx: Any) -> Any:
            try:
                ctx.rfc("bar", 1, key=object())
            except EncodingError as error:
                yield ctx.sleep(0)
                return str(error)

        play = Play(fn)
        play.settle("root.2")
        assert "argument 'key'" in play.result

    def test_wrong_arguments_are_found_at_the_call(self) -> None:
        env = environment()
        env.registry.register(double)

        def fn(ctx: Any) -> Any:
            for kind in (ctx.rfc, ctx.lfc):
                with pytest.raises(TypeError, match="double"):
                    kind(double, 1, 2)
            yield ctx.sleep(0)

        play = Play(fn, env=env)
        assert play.outcome is None, play.outcome

    @pytest.mark.parametrize(
        "options",
        [{"target": "poll://"}, {"timeout": -1}, {"version": 0}, {"tags": {"a": 1}}, {"id": ""},
         {"delay": "1"}, {"priority": 101}, {"retry": 3}, {"tags": {"understudy:x": "1"}},
         {"target": "a", "send_to": "b"}],
    )  # fmt: skip
    def test_options_are_checked_at_the_call(self, options: dict[str, Any]) -> None:
        def fn(ctx: Any) -> Any:
            try:
                ctx.rfc("bar").options(**options)
            except ConfigurationError as error:
                return str(error)
            yield

        play = Play(fn)
        assert play.outcome is None or next(iter(options)) in play.result
        play.resolve("root.1")
        assert next(iter(options)) in play.result

    def test_options_travel(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.rfi("bar").options(
                id="mine", target="h", timeout=3, version=2, tags={"k": "v"},
                retry=Never(), delay=1, priority=-5,
            )  # fmt: skip

        (create,) = creates(Play(fn))
        assert create.id == "mine"
        assert create.timeout_at == START + 3000
        assert create.param.headers[HEADER_VERSION] == "2"
        assert create.param.headers[HEADER_RETRY] == "never"
        assert create.tags[TAG_TARGET] == "poll://any@h"
        assert create.tags[TAG_DELAY] == str(START + 1000)
        assert create.tags[TAG_PRIORITY] == "-5"
        assert create.tags["k"] == "v"

    def test_options_after_the_yield_are_an_error(self) -> None:
        def fn(ctx: Any) -> Any:
            call = ctx.rfi("bar")
            yield call
            call.options(timeout=1)

        play = Play(fn)
        play.resolve("root.1")
        with pytest.raises(RuntimeError, match="before the call is yielded"):
            _ = play.result

    def test_a_result_that_cannot_be_encoded_names_the_function(self) -> None:
        def fn(ctx: Any) -> Any:
            return object()

        with pytest.raises(EncodingError, match="the result of fn"):
            _ = Play(fn).result

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
    def test_what_is_no_exception_fails_the_call_without_a_retry(
        self, error: BaseException
    ) -> None:
        def fn(ctx: Any) -> Any:
            raise error

        env = environment()
        env.registry.register(fn, retry=Constant(1, 5))
        play = Play(fn, env=env)
        assert play.retry_after_s is None
        assert play.outcome is not None
        assert play.outcome.error is error

    def test_a_leaf_is_retried_and_a_workflow_is_not(self) -> None:
        def leaf(ctx: Any) -> Any:
            raise OSError

        async def async_leaf(ctx: Any) -> Any:
            raise OSError

        def workflow(ctx: Any) -> Any:
            yield ctx.all([])
            raise OSError

        async def async_workflow(ctx: Any) -> Any:
            await ctx.detached("bar")
            raise OSError

        for fn, delay_s in (
            (leaf, 1),
            (async_leaf, 1),
            (workflow, None),
            (async_workflow, None),
        ):
            env = environment()
            env.registry.register(fn, retry=Constant(1, 5))
            play = Play(fn, env=env)
            assert play.retry_after_s == delay_s
            assert (play.outcome is None) == (delay_s is not None)

    def test_who_wants_asyncio_is_told_what_there_is_and_not_tried_again(self) -> None:
        async def fn(ctx: Any) -> Any:
            await asyncio.sleep(1)

        env = environment()
        env.registry.register(fn, retry=Constant(1, 5))
        play = Play(fn, env=env)
        assert play.retry_after_s is None
        assert play.outcome is not None
        assert play.outcome.error is not None
        [note] = play.outcome.error.__notes__
        assert "runs on trio here, not on asyncio" in note

    @pytest.mark.parametrize("use", [lambda x: x + 1, lambda x: x["a"], lambda x: x.name])
    def test_a_request_used_as_its_value_is_explained(self, use: Any) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.sleep(0)
            return use(ctx.rfc("bar"))

        play = Play(fn)
        play.settle("root.1")
        assert play.outcome is not None
        assert play.outcome.error is not None
        [note] = play.outcome.error.__notes__
        assert "write `x = yield ctx...`" in note

    def test_a_broken_policy_does_not_hide_the_error(self) -> None:
        class Broken:
            def delay_s(self, attempt: int, error: BaseException) -> float | None:
                raise ZeroDivisionError

        def leaf(ctx: Any) -> Any:
            raise OSError("the reason")

        env = environment()
        env.registry.register(leaf, retry=Broken())
        with pytest.raises(OSError, match="the reason") as caught:
            _ = Play(leaf, env=env).result
        assert "ZeroDivisionError" in caught.value.__notes__[0]


class TestEnding:
    def test_it_does_not_end_before_its_children(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.rfi("a")
            yield ctx.detached("b")
            yield ctx.rfi("c")
            raise LookupError("done")

        play = Play(fn)
        play.resolve("root.3")
        assert play.outcome is None
        play.reject("root.1", OSError("unseen"))
        with pytest.raises(LookupError, match="done"):
            _ = play.result

    def test_deadlines_never_exceed_the_parents(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.rfi("a").options(timeout=100)
            yield ctx.lfi(double, 1).options(timeout=0.5)
            yield ctx.promise(timeout=100)
            yield ctx.sleep(100)

        play = Play(fn, timeout_at=START + 1000)
        assert [c.timeout_at - START for c in creates(play)] == [1000, 500, 1000, 1000]

    def test_a_deadline_counts_from_the_call_and_not_from_the_step(self) -> None:
        def fn(ctx: Any) -> Any:
            clock[0] += 10_000
            yield ctx.sleep(1)

        clock = [START]
        env = environment()
        function = env.registry.register(fn)
        play = Play(double, 1, env=env)
        routine = Routine(env, function, play.root.record, origin=ROOT, branch=ROOT)
        routine.calls.clock = lambda: clock[0]
        (create,) = routine.step(START).commands
        assert isinstance(create, PromiseCreate)
        assert create.timeout_at == START + 11_000

    def test_closing_runs_the_clean_up_code(self) -> None:
        def fn(ctx: Any) -> Any:
            try:
                yield ctx.map("f", [1])
            finally:
                closed.append(1)

        closed: list[int] = []
        play = Play(fn)
        alive = [play.root.alive]
        play.root.close()
        alive.append(play.root.alive)
        assert closed == [1]
        assert alive == [True, False]
        assert play.root.dropped


class TestReplay:
    def test_time_random_and_uuid_are_the_same(self) -> None:
        def inner(ctx: Any) -> Any:
            yield ctx.rfc("b")
            return [ctx.time, str(ctx.uuid())]

        def fn(ctx: Any) -> Any:
            begin = [ctx.time, ctx.random.random(), str(ctx.uuid())]
            yield ctx.rfc("a")
            return [begin, ctx.time, ctx.random.random(), (yield ctx.lfc(inner))]

        play = Play(fn)
        play.now += 5000
        play.resolve("root.1")
        assert creates(play)[-1].id == "root.2.1"
        half = list(play.promises.values())
        play.resolve("root.2.1")
        again = Play(fn, env=play.env, records=half)
        again.now = play.now - 1
        again.resolve("root.2.1")
        assert again.result == play.result
        assert play.result[1] == (START + 5001) / 1000

    def test_the_log_is_silent_while_replaying(self, caplog: pytest.LogCaptureFixture) -> None:
        def fn(ctx: Any) -> Any:
            ctx.log.info("one")
            yield ctx.rfc("a")
            ctx.log.info("two %s", 2)
            yield ctx.rfc("b")

        caplog.set_level("INFO", "understudy.function")
        play = Play(fn)
        assert [r.getMessage() for r in caplog.records] == ["fn root: one"]
        caplog.clear()
        play.resolve("root.1")
        assert [r.getMessage() for r in caplog.records] == ["fn root: two 2"]
        caplog.clear()
        Play(fn, env=play.env, records=play.promises.values())
        assert caplog.records == []

    def recorded(self, fn: Any) -> Play:
        play = Play(fn)
        for id in play.open():
            play.resolve(id)
        return play

    @staticmethod
    def old(ctx: Any) -> Any:
        yield ctx.rfi("a")
        yield ctx.lfi(double, 1)

    @pytest.mark.parametrize("change", ["kind", "name", "missing"])
    def test_changed_code_is_found_out_with_both_places(self, change: str) -> None:
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
            _ = Play(new, records=history).result
        error = caught.value
        assert error.promise == "root.1"
        assert error.recorded == "rfi a"
        assert "test_requests.py:" in error.recorded_at
        assert "test_requests.py:" in error.asked_at
        assert error.asked == {"kind": "sleep", "name": "rfi b"}.get(change, "nothing: it ended")

    def test_calls_after_the_recorded_ones_are_fine(self) -> None:
        def new(ctx: Any) -> Any:
            yield from self.old(ctx)
            return (yield ctx.rfc("c"))

        play = Play(new, records=self.recorded(self.old).promises.values())
        play.resolve("root.3", 3)
        assert play.result == 3

    def test_a_childs_own_non_determinism_can_be_caught(self) -> None:
        def fn(ctx: Any) -> Any:
            try:
                yield ctx.rfc("a")
            except NonDeterminismError as error:
                return error.promise

        play = Play(fn)
        failure = NonDeterminismError("child", "rfi x", "rfi y")
        play.reject("root.1", failure)
        assert play.result == "child"
        assert Play(fn, env=play.env, records=play.promises.values()).result == "child"

    def test_a_race_recorded_but_not_decided_is_decided(self) -> None:
        def fn(ctx: Any) -> Any:
            a = yield ctx.rfi("a")
            return (yield ctx.race([a]))

        play = Play(fn)
        play.resolve("root.1", 1)
        records = [r for r in play.log if not r.settled] + [play.promises["root.1"]]
        assert {r.id for r in records} == {"root.1", "root.2"}
        assert Play(fn, env=play.env, records=records).result == 1


class TestFlow:
    def test_a_function_that_asks_too_much_pauses_and_goes_on(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(routine_module, "UNANSWERED_MAX", 512)
        monkeypatch.setattr(routine_module, "UNANSWERED_LOW", 256)

        def fn(ctx: Any) -> Any:
            for n in range(3000):
                yield ctx.rfi("a", n)

        env = environment()
        record = Play(double, 1, env=env).root.record
        handed: list[StepResult] = []
        routine = Routine(
            env,
            env.registry.register(fn),
            record,
            origin=ROOT,
            branch=ROOT,
            flush=lambda output: handed.append(output),
        )
        sent = answered = 0
        for _ in range(100):
            output = routine.step(START)
            new = sum(len(o.commands) for o in [*handed, output])
            handed.clear()
            sent += new
            assert sent - answered <= 512 + routine_module.FLUSH_COMMANDS
            if not routine.paused:
                break
            assert routine.step(START).commands == []
            runnable = [routine.runnable]
            while not routine.runnable:
                routine.answered(1)
                answered += 1
            runnable.append(routine.runnable)
            assert runnable == [False, True]
        assert sent == 3000
        assert routine.waiting, "for its children"

    def test_what_is_no_request_of_a_coroutine_is_passed_on(self) -> None:
        async def fn(ctx: Any) -> Any:
            await asyncio.sleep(0)
            try:
                await asyncio.sleep(0)
            except OSError:
                return await ctx.rfc("a")

        play = Play(fn)
        routine = play.root
        assert routine.alive
        output = routine.resume_foreign(None)
        assert output.done is None
        output = routine.resume_foreign(error=OSError())
        assert [c.id for c in output.commands] == ["root.1"]

    def test_a_loop_may_interrupt_a_wait(self) -> None:
        async def fn(ctx: Any) -> Any:
            try:
                await ctx.rfc("a")
            except TimeoutError:
                return "too late"

        play = Play(fn)
        output = play.root.interrupt(TimeoutError())
        assert output.done is None
        play.resolve("root.1")
        assert play.result == "too late"
