"""Ids of traces and spans that follow from ids of promises."""

from __future__ import annotations

from understudy.tracing.ids import attempt_span_id, call_span_id, step_span_id, trace_id_of


def test_the_same_promise_has_the_same_ids_and_another_has_others() -> None:
    made = [
        trace_id_of("a"),
        trace_id_of("b"),
        call_span_id("a"),
        call_span_id("b"),
        *(attempt_span_id(id, version) for id in ("a", "a1") for version in (1, 2, 11)),
        *(step_span_id("a", version, number) for version in (1, 11) for number in (1, 11)),
    ]
    assert len(set(made)) == len(made)
    assert trace_id_of("a") == made[0]
    assert step_span_id("a", 11, 11) == made[-1]


def test_ids_do_not_change_with_a_release() -> None:
    # Logs and pages name traces by them, and processes of several releases make one trace.
    assert f"{trace_id_of('order-7'):032x}" == "20b706b16f9371bf6e6f2971b63e7add"
    assert f"{call_span_id('order-7'):016x}" == "4b8df5972693aa69"
    assert f"{attempt_span_id('order-7', 1):016x}" == "0344b70eb53b07f7"
    assert f"{step_span_id('order-7.1', 1, 1):016x}" == "104e20c0d5eb24c2"


def test_any_text_is_an_id() -> None:
    assert call_span_id("\udcff") != call_span_id("ÿ")
