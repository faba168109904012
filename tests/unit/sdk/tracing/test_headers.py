"""The context of a trace in headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.tracing.headers import STATE_CHARS_MAX, TraceParent, forwarded, linked, parse

TEXT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_a_parent_is_read_as_it_was_written(trace_id: int, span_id: int, sampled: bool) -> None:
    parent = TraceParent(trace_id, span_id, sampled)
    assert parse(parent.text) == parent


@given(st.text())
def test_anything_else_is_no_parent(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    "text",
    [
        TEXT.upper(),
        TEXT[:-1],
        f"{TEXT}-more",  # of a later version only
        f"ff{TEXT[2:]}",
        TEXT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        TEXT.replace("b7ad6b7169203331", "0" * 16),
        f" {TEXT}",
        f"{TEXT}\n",
        "",
    ],
)
def test_a_malformed_parent_is_none(text: str) -> None:
    assert parse(text) is None
    assert forwarded({"traceparent": text}) == {}
    assert linked({"traceparent": text}) == {}


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    parent = parse(f"01{TEXT[2:-1]}3-more")
    assert parent == parse(TEXT)


def test_a_request_passes_on_its_trace_and_what_tracers_say_of_it() -> None:
    headers = {"traceparent": TEXT, "tracestate": "vendor=1", "accept": "*/*"}
    assert forwarded(headers) == {"traceparent": TEXT, "tracestate": "vendor=1"}
    assert forwarded({"accept": "*/*"}) == {}


@pytest.mark.parametrize("state", ["v=" + "x" * STATE_CHARS_MAX, "v=\x1b[2J", ""])
def test_a_state_that_is_too_long_or_no_text_is_left_out(state: str) -> None:
    assert forwarded({"traceparent": TEXT, "tracestate": state}) == {"traceparent": TEXT}


def test_a_message_is_linked_to() -> None:
    assert linked({"traceparent": TEXT, "tracestate": "vendor=1"}) == {"tracelink": TEXT}
