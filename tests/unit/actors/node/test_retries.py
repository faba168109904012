"""Leaves that failed and are tried again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.actors.node.scenario import Scenario
from tests.unit.actors.node.world import START
from understudy.retry import Never
from understudy_actors.node.causes import failed_attempt
from understudy_store.limits import Limits
from understudy_store.machine.validation import check_cause


class TestRetries:
    def test_a_failed_task_is_released_with_a_delay(self, scenario: Scenario) -> None:
        assert scenario.call("flaky", 2) == 3
        assert scenario.world.now - START >= 2000
        assert scenario.node.core.statistics().running == 0

    def test_a_task_fails_after_its_last_attempt(self, scenario: Scenario) -> None:
        with pytest.raises(OSError, match="time 3"):
            scenario.call("flaky", 9)

    def test_the_task_says_why_and_the_first_failure_is_logged_whole(
        self, scenario: Scenario
    ) -> None:
        lines: list[str] = []
        failures: list[tuple[str, BaseException, bool]] = []
        state = scenario.node.core.state
        state.log = lines.append
        state.log_failure = lambda *failure: failures.append(failure)
        scenario.world.invoke("x", "flaky", 9)
        scenario.world.rest(0)
        task = scenario.world.machine.view.task("x")
        assert task is not None
        assert (task.cause, task.failures) == ("attempt 1 of 3 failed: OSError: time 1", 1)
        assert task.retry_at == START + 1000
        with pytest.raises(OSError, match="time 3"):
            scenario.value(scenario.world.finish("x"))
        text = "flaky x: attempt {0} of 3 failed: OSError: time {0}; the next one in 1 s"
        assert lines == [text.format(2)]
        (first, error, retried), (last, _, at_last) = failures
        assert (first, last) == (text.format(1), "flaky x failed")
        assert (retried, at_last) == (True, False)
        assert error.__traceback__ is not None

    def test_a_local_call_is_retried_on_this_node(self, scenario: Scenario) -> None:
        def outer(ctx: Any) -> Any:
            return (yield ctx.lfc(scenario.flaky, 2))

        scenario.env.registry.register(outer)
        scenario.world.invoke("x", "outer")
        scenario.world.rest(0)
        assert scenario.node.core.next_due() == START + 1000
        scenario.world.rest(999)
        assert scenario.ran["x.1"] == 1
        scenario.world.rest(1)
        assert scenario.ran["x.1"] == 2
        assert scenario.value(scenario.world.finish("x")) == 3
        assert scenario.world.machine.view.task("x").version == 1  # type: ignore[union-attr]

    def test_a_local_call_fails_after_its_last_attempt(self, scenario: Scenario) -> None:
        def outer(ctx: Any) -> Any:
            return (yield ctx.lfc(scenario.flaky, 9))

        scenario.env.registry.register(outer)
        with pytest.raises(OSError, match="time 3"):
            scenario.call("outer")

    def test_a_calls_own_policy_takes_precedence(self, scenario: Scenario) -> None:
        def outer(ctx: Any) -> Any:
            for call, fn in ((ctx.lfc, scenario.flaky), (ctx.rfc, "flaky")):
                try:
                    yield call(fn, 1).options(retry=Never())
                except OSError:
                    continue
            return dict(scenario.ran)

        scenario.env.registry.register(outer)
        assert scenario.call("outer") == {"x.1": 1, "x.2": 1}

    def test_a_retry_due_after_the_task_was_lost_does_nothing(self, scenario: Scenario) -> None:
        def outer(ctx: Any) -> Any:
            return (yield ctx.lfc(scenario.flaky, 2))

        scenario.env.registry.register(outer)
        scenario.world.invoke("x", "outer")
        scenario.world.rest(0)
        scenario.node.core.state.drop(scenario.node.core.activations["x"])
        scenario.world.advance(5000)
        assert scenario.node.executor.queue == []
        assert scenario.node.core.next_due() is None


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("error", "attempts_max", "cause"),
    [
        (ValueError("no\x00pe\ud800"), 6, "attempt 1 of 6 failed: ValueError: no pe "),
        (ValueError("first\nsecond"), None, "attempt 1 failed: ValueError: first"),
        (KeyError(), 2, "attempt 1 of 2 failed: KeyError"),
        (Unprintable(), 2, f"attempt 1 of 2 failed: {__name__}.Unprintable"),
    ],
)
def test_a_cause_is_always_accepted(error: Exception, attempts_max: int | None, cause: str) -> None:
    assert failed_attempt(1, attempts_max, error) == cause
    long = failed_attempt(1, 6, ValueError("x" * 100_000))
    check_cause(Limits(), long)
