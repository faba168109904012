"""Spans of calls, attempts and steps, on a stage."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from tests.unit.sdk.tracing.recorder import (
    Recorder,
    id_of,
    links_of,
    parent_of,
    recording,
    trace_of,
)
from understudy import Never, Runtime
from understudy.context import Context
from understudy.testing import Stage, crash_everywhere
from understudy.tracing import set_tracer_provider
from understudy.tracing.ids import attempt_span_id, call_span_id, step_span_id, trace_id_of

Steps = Generator[Any, Any, Any]


def note(_: Context, text: str) -> str:
    """Return the text."""
    return text


def ship(_: Context, number: int) -> int:
    """Return the number."""
    return number


def order(ctx: Context, number: int) -> Steps:
    """Take a step, and make a call."""
    yield ctx.run(note, "begun")
    shipped = yield ctx.rpc("ship", number)
    return shipped


def make() -> Runtime:
    """Return a runtime with these functions."""
    runtime = Runtime("shop", "ann")
    runtime.register(ship)
    runtime.register(order)
    return runtime


def test_a_call_has_a_span_from_its_caller_down_to_its_steps(recorder: Recorder) -> None:
    runtime = make()
    with Stage(runtime), recorder.user.start_as_current_span("request") as request:
        assert runtime.rpc("order-7", order, 7).result() == 7
    call, attempt = recorder.one("call order"), recorder.all("attempt order")[0]
    step, inner = recorder.one("step note"), recorder.one("call ship")
    assert parent_of(call) == request.get_span_context().span_id
    assert parent_of(attempt) == id_of(call) == call_span_id("order-7")
    assert parent_of(step) == parent_of(inner) == id_of(attempt) == attempt_span_id("order-7", 1)
    assert id_of(step) == step_span_id("order-7.1", 1, 1)
    assert parent_of(recorder.one("attempt ship")) == id_of(inner) == call_span_id("order-7.2")
    assert len({trace_of(span) for span in recorder.spans}) == 1
    kinds = [span.kind for span in (call, attempt, step)]
    assert kinds == [SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.INTERNAL]
    assert dict(attempt.attributes or {}) == {
        "understudy.id": "order-7",
        "understudy.origin": "order-7",
        "understudy.group": "shop",
        "understudy.function": "order",
        "understudy.attempt": 1,
        "understudy.node": "ann",
    }


def test_a_call_without_a_trace_begins_one_that_its_id_tells(recorder: Recorder) -> None:
    runtime = make()
    with Stage(runtime):
        runtime.rpc("ship-1", ship, 1).result()
    assert trace_of(recorder.one("call ship")) == trace_id_of("ship-1")
    assert trace_of(recorder.one("attempt ship")) == trace_id_of("ship-1")


def test_a_wait_is_an_event_and_what_follows_is_an_attempt_linked_to_the_first(
    recorder: Recorder,
) -> None:
    def nap(ctx: Context) -> Steps:
        yield ctx.sleep(60)

    runtime = make()
    runtime.register(nap)
    with Stage(runtime):
        runtime.rpc("nap-1", nap).result()
    first, second = recorder.all("attempt nap")
    assert [event.name for event in first.events] == ["suspended"]
    assert dict(first.events[0].attributes or {}) == {
        "understudy.awaited": ("nap-1.1",),
        "understudy.awaited_count": 1,
    }
    assert [event.name for event in second.events] == ["resumed"]
    assert links_of(second) == [id_of(first)]
    assert parent_of(second) == parent_of(first) == call_span_id("nap-1")
    assert links_of(first) == []


def test_each_attempt_that_fails_has_a_span_with_the_error(recorder: Recorder) -> None:
    def flaky(ctx: Context) -> int:
        if ctx.info.attempt == 1:
            raise ConnectionError("no route")
        return ctx.info.attempt

    def caller(ctx: Context) -> Steps:
        return (yield ctx.run(flaky))

    def hopeless(_: Context) -> None:
        raise ValueError("never")

    runtime = make()
    for function in (flaky, caller, hopeless):
        runtime.register(function)
    with Stage(runtime, log=None):
        assert runtime.rpc("flaky-1", flaky).result() == 2
        assert runtime.rpc("caller-1", caller).result() == 2
        with pytest.raises(ValueError, match="never"):
            runtime.options(retry=Never()).rpc("hopeless-1", hopeless).result()
    for name in ("attempt flaky", "step flaky"):
        failed, done = recorder.all(name)
        assert failed.status.status_code is StatusCode.ERROR
        assert failed.status.description == "ConnectionError: no route"
        assert "understudy.retry_after" in (failed.attributes or {})
        assert [event.name for event in failed.events] == ["exception"]
        assert done.status.status_code is StatusCode.UNSET
    assert recorder.one("attempt hopeless").status.status_code is StatusCode.ERROR
    assert recorder.one("call hopeless").status.status_code is StatusCode.UNSET


def test_a_detached_call_begins_a_trace_of_its_own_with_a_link(recorder: Recorder) -> None:
    def leave(ctx: Context) -> Steps:
        yield ctx.detached("ship", 3)

    runtime = make()
    runtime.register(leave)
    with Stage(runtime) as stage:
        runtime.rpc("leave-1", leave).result()
        while stage.skip():
            pass
    call, attempt = recorder.one("call ship"), recorder.one("attempt ship")
    assert trace_of(call) == trace_id_of("leave-1")
    assert trace_of(attempt) == trace_id_of("leave-1.1")
    assert parent_of(attempt) is None
    assert links_of(attempt) == [id_of(call)]


def test_a_call_is_not_another_one_because_it_comes_from_another_trace(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = make()
    with Stage(runtime):
        for name in ("one", "two"):
            with recorder.user.start_as_current_span(name):
                assert runtime.rpc("order-7", order, 7).result() == 7
    assert caplog.messages == []
    assert len({id_of(span) for span in recorder.all("call order")}) == 1
    assert {trace_of(span) for span in recorder.all("attempt order")} == {
        trace_of(recorder.one("one"))
    }


# Crashes and replays -----------------------------------------------------------------------------


def test_a_crash_anywhere_leaves_one_span_for_each_step_that_ran(recorder: Recorder) -> None:
    runs: list[tuple[list[str], list[ReadableSpan]]] = []
    executed: list[str] = []

    def step(ctx: Context, number: int) -> int:
        executed.append(ctx.id)
        with recorder.user.start_as_current_span("user's"):
            return number

    def program(ctx: Context) -> Steps:
        first = yield ctx.run(step, 1)
        with recorder.user.start_as_current_span("silent"):
            yield ctx.rpc("ship", first)
        left = yield ctx.begin_run(step, 2)
        right = yield ctx.begin_run(step, 3)
        yield ctx.all([left, right])
        yield ctx.sleep(60)
        return (yield ctx.run(step, 4))

    def before() -> None:
        runs.append((list(executed), recorder.spans))
        executed.clear()
        recorder.clear()

    runtime = make()
    runtime.register(program)
    report = crash_everywhere.on(runtime, before=before)(program)
    before()
    assert report.result == 4
    assert report.crashes > 20
    assert len(runs) == report.crashes + 2
    for ran, spans in runs[1:]:
        steps = [span for span in spans if span.name == "step step"]
        assert sorted(str((span.attributes or {})["understudy.id"]) for span in steps) == sorted(
            ran
        )
        assert len([span for span in spans if span.name == "user's"]) == len(ran)
        ids = [id_of(span) for span in spans]
        assert len(set(ids)) == len(ids), "a span was made twice"
        assert {trace_of(span) for span in spans if span.name != "silent"} == {
            trace_id_of("crash-test")
        }
        # What was begun by a replay is not recorded; the function itself ran once without one.
        assert len([span for span in spans if span.name == "silent"]) <= 2


def test_the_users_spans_are_silent_in_a_replay_and_recorded_after_it(recorder: Recorder) -> None:
    seen: list[bool] = []

    def program(ctx: Context) -> Steps:
        seen.append(trace.get_current_span().is_recording())
        with recorder.user.start_as_current_span("before"):
            yield ctx.run(note, "a")
        trace.get_current_span().set_attribute("customer", 7)
        with recorder.user.start_as_current_span("after"):
            yield ctx.run(note, "b")
        return seen

    runtime = Runtime("shop", "ann")
    runtime.register(program)
    found: list[tuple[list[bool], int, int]] = []

    def before() -> None:
        names = recorder.names
        found.append((list(seen), names.count("before"), names.count("after")))
        recorder.clear()
        seen.clear()

    crash_everywhere.on(runtime, before=before, same=lambda *_: True)(program)
    before()
    assert found[1] == ([True], 1, 1)
    # Killed after the first step was stored: the second run of the code replays up to there.
    assert ([True, False], 1, 1) in found[2:]


# Sampling ----------------------------------------------------------------------------------------


def test_a_call_that_is_not_sampled_tells_those_below_it() -> None:
    with recording(ALWAYS_OFF) as recorder:
        runtime = make()
        with Stage(runtime) as stage:
            assert runtime.rpc("order-7", order, 7).result() == 7
            records = [stage.simulator.broker.find(id) for id in ("order-7", "order-7.2")]
        assert recorder.spans == []
        root, child = (record.param.headers for record in records if record is not None)
        assert root["traceparent"].startswith(f"00-{trace_id_of('order-7'):032x}-")
        assert root["traceparent"].endswith("-00")
        # Its caller was not sampled: that is what the absence of the header says.
        assert "traceparent" not in child


def test_without_a_provider_nothing_is_passed_on() -> None:
    set_tracer_provider(None)
    runtime = make()
    with Stage(runtime) as stage:
        runtime.rpc("order-7", order, 7).result()
        record = stage.simulator.broker.find("order-7")
    assert record is not None
    assert "traceparent" not in record.param.headers


class Broken(SpanProcessor):
    """A processor that fails."""

    def on_start(self, span: Span, parent_context: object = None) -> None:
        raise RuntimeError("no room")

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("no room")


def test_a_processor_that_fails_harms_no_call(recorder: Recorder) -> None:
    recorder.provider.add_span_processor(Broken())
    runtime = make()
    with Stage(runtime):
        assert runtime.rpc("order-7", order, 7).result() == 7
