"""Errors: of calls, of arguments and options, of functions and their retries."""

from __future__ import annotations

import asyncio
import math
import sys
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.unit.actors.interpreter.harness import (
    START,
    Harness,
    creates,
    double,
    environment,
)
from understudy.errors import (
    CanceledError,
    ConfigurationError,
    DeadlineExceededError,
    EncodingError,
)
from understudy.retry import Constant, Never
from understudy_store.records import (
    CANCELED,
    HEADER_RETRY,
    HEADER_VERSION,
    REJECTED,
    TAG_DELAY,
    TAG_PRIORITY,
    TAG_TARGET,
    TIMEDOUT,
    Value,
)


class TestErrors:
    def test_an_error_arrives_with_its_own_class(self) -> None:
        def fn(ctx: Any) -> Any:
            try:
                yield ctx.rfc("a", 1)
            except KeyError as error:
                return [type(error).__name__, *error.args]

        harness = Harness(fn)
        harness.reject("root.1", KeyError("k", 2))
        assert harness.result == ["KeyError", "k", 2]

    def test_an_uncaught_error_fails_the_caller(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.rfc("a", 1)

        harness = Harness(fn)
        harness.reject("root.1", ZeroDivisionError("by zero"))
        with pytest.raises(ZeroDivisionError, match="by zero"):
            _ = harness.result

    @pytest.mark.parametrize(
        ("state", "error"), [(TIMEDOUT, DeadlineExceededError), (CANCELED, CanceledError)]
    )
    def test_a_missed_deadline_and_a_cancel_raise_errors_of_their_own(
        self, state: Any, error: type[Exception]
    ) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.rfc("a", 1)

        harness = Harness(fn)
        harness._settle("root.1", state, Value({}))
        with pytest.raises(error):
            _ = harness.result

    @pytest.mark.parametrize("thing", [1, None, "bar", [1], object()])
    def test_yielding_no_request_is_an_error_at_the_yield(self, thing: Any) -> None:
        def fn(ctx: Any) -> Any:
            try:
                yield thing
            except TypeError as error:
                return str(error)

        text = Harness(fn).result
        assert text.startswith("fn yielded")
        assert "is not a request: yield a call of ctx" in text

    def test_a_combinator_names_an_item_that_is_no_promise(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.all([1])

        with pytest.raises(TypeError, match="1 is no promise"):
            _ = Harness(fn).result

    def test_an_argument_that_cannot_be_encoded_is_an_error_at_the_call(self) -> None:
        def fn(ctx: Any) -> Any:
            try:
                ctx.rfc("bar", 1, key=object())
            except EncodingError as error:
                yield ctx.sleep(0)
                return str(error)

        harness = Harness(fn)
        harness.settle("root.2")
        assert "argument 'key'" in harness.result

    def test_wrong_arguments_are_an_error_at_the_call(self) -> None:
        env = environment()
        env.registry.register(double)

        def fn(ctx: Any) -> Any:
            for kind in (ctx.rfc, ctx.lfc):
                with pytest.raises(TypeError, match="double"):
                    kind(double, 1, 2)
            yield ctx.sleep(0)

        harness = Harness(fn, env=env)
        assert harness.outcome is None, harness.outcome

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

        harness = Harness(fn)
        assert harness.outcome is None or next(iter(options)) in harness.result
        harness.resolve("root.1")
        assert next(iter(options)) in harness.result

    def test_options_reach_the_promise(self) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.rfi("bar").options(
                id="mine", target="h", timeout=3, version=2, tags={"k": "v"},
                retry=Never(), delay=1, priority=-5,
            )  # fmt: skip

        (create,) = creates(Harness(fn))
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

        harness = Harness(fn)
        harness.resolve("root.1")
        with pytest.raises(RuntimeError, match="before the call is yielded"):
            _ = harness.result

    def test_a_result_that_cannot_be_encoded_names_the_function(self) -> None:
        def fn(ctx: Any) -> Any:
            return object()

        with pytest.raises(EncodingError, match="the result of fn"):
            _ = Harness(fn).result

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
    def test_a_base_exception_fails_the_call_without_a_retry(self, error: BaseException) -> None:
        def fn(ctx: Any) -> Any:
            raise error

        env = environment()
        env.registry.register(fn, retry=Constant(1, 5))
        harness = Harness(fn, env=env)
        assert harness.retry_after_s is None
        assert harness.outcome is not None
        assert harness.outcome.error is error

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
            harness = Harness(fn, env=env)
            assert harness.retry_after_s == delay_s
            assert (harness.outcome is None) == (delay_s is not None)

    def test_a_use_of_asyncio_is_explained_and_not_retried(self) -> None:
        async def fn(ctx: Any) -> Any:
            await asyncio.sleep(1)

        env = environment()
        env.registry.register(fn, retry=Constant(1, 5))
        harness = Harness(fn, env=env)
        assert harness.retry_after_s is None
        assert harness.outcome is not None
        assert harness.outcome.error is not None
        [note] = harness.outcome.error.__notes__
        assert "runs on trio here" in note
        assert 'loop="asyncio"' in note

    @pytest.mark.parametrize("use", [lambda x: x + 1, lambda x: x["a"], lambda x: x.name])
    def test_a_request_used_as_its_value_is_explained(self, use: Any) -> None:
        def fn(ctx: Any) -> Any:
            yield ctx.sleep(0)
            return use(ctx.rfc("bar"))

        harness = Harness(fn)
        harness.settle("root.1")
        assert harness.outcome is not None
        assert harness.outcome.error is not None
        [note] = harness.outcome.error.__notes__
        assert "write `x = yield ctx...`" in note

    @pytest.mark.parametrize("raises", [GeneratorExit(), SystemExit(3), KeyboardInterrupt()])
    def test_code_of_values_that_would_end_the_thread_fails_the_call(
        self, raises: BaseException
    ) -> None:
        class Result:
            def __reduce__(self) -> Any:
                raise raises

        class Text(RuntimeError):
            def __str__(self) -> str:
                raise raises

        class Argument:
            def __str__(self) -> str:
                raise raises

        def gives(ctx: Any) -> Any:
            return Result()

        def fails(ctx: Any) -> Any:
            raise Text

        def fails_with(ctx: Any) -> Any:
            raise RuntimeError(Argument())

        for fn in (gives, fails, fails_with):
            harness = Harness(fn, env=environment(pickle=True))
            assert harness.outcome is not None
            assert harness.outcome.state == REJECTED

    def test_arguments_whose_pickle_ends_the_program_fail_the_call(self) -> None:
        class Ends:
            def __reduce__(self) -> Any:
                return sys.exit, (5,)

        def fn(ctx: Any, value: Any) -> Any:
            return value

        harness = Harness(fn, Ends(), env=environment(pickle=True))
        assert harness.outcome is not None
        assert isinstance(harness.outcome.error, SystemExit)

    def test_an_error_that_takes_no_note(self) -> None:
        class Broken:
            def delay_s(self, attempt: int, error: BaseException) -> float | None:
                raise SystemExit

            def __repr__(self) -> str:
                raise KeyError

        class Noteless(Exception):
            __notes__ = 3  # type: ignore[assignment]

        def leaf(ctx: Any) -> Any:
            raise Noteless("the reason")

        env = environment()
        env.registry.register(leaf, retry=Broken())
        harness = Harness(leaf, env=env)
        assert harness.outcome is not None
        assert isinstance(harness.outcome.error, Noteless)

    def test_a_failing_retry_policy_does_not_hide_the_error(self) -> None:
        class Broken:
            def delay_s(self, attempt: int, error: BaseException) -> float | None:
                raise ZeroDivisionError

        def leaf(ctx: Any) -> Any:
            raise OSError("the reason")

        env = environment()
        env.registry.register(leaf, retry=Broken())
        with pytest.raises(OSError, match="the reason") as caught:
            _ = Harness(leaf, env=env).result
        assert "ZeroDivisionError" in caught.value.__notes__[0]

    @pytest.mark.parametrize(
        "delay", ["soon", "5", b"5", math.nan, math.inf, -1, -0.5, timedelta(seconds=-1), [1], 1j]
    )
    def test_a_retry_policy_that_answers_with_no_delay(self, delay: Any) -> None:
        harness = retried(delay)
        assert harness.retry_after_s is None
        assert harness.outcome is not None
        assert isinstance(harness.outcome.error, OSError)
        [note] = harness.outcome.error.__notes__
        assert f"returned {delay!r}: delay_s must return a number of seconds" in note

    @pytest.mark.parametrize(
        ("delay", "seconds"),
        [(0, 0.0), (Decimal("1.5"), 1.5), (timedelta(minutes=1), 60.0), (1e300, 3_153_600_000.0)],
    )
    def test_delays_of_a_retry_policy(self, delay: Any, seconds: float) -> None:
        assert retried(delay).retry_after_s == seconds


def retried(delay: Any) -> Harness:
    """Return the run of a leaf that fails, with a policy that answers `delay`."""

    class Policy:
        def delay_s(self, attempt: int, error: BaseException) -> Any:
            return delay

    def leaf(ctx: Any) -> Any:
        raise OSError("the reason")

    env = environment()
    env.registry.register(leaf, retry=Policy())
    return Harness(leaf, env=env)
