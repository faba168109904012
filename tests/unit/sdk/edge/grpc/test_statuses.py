"""Refusals as statuses, and the time that waits have."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from understudy.edge.brokers import BusyError, NoBrokerError
from understudy.edge.grpc.service import Places, time_left_s
from understudy.edge.grpc.statuses import TEXT_BYTES_MAX, Refusal, refusal_of, shortened
from understudy.edge.native.problems import Problem, busy, of_reply
from understudy_store.commands import Reply

CONFLICT = StatusCode.ALREADY_EXISTS


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Problem(400, "a"), StatusCode.INVALID_ARGUMENT),
        (Problem(403, "a"), StatusCode.PERMISSION_DENIED),
        (Problem(404, "a"), StatusCode.NOT_FOUND),
        (Problem(409, "a"), CONFLICT),
        (Problem(413, "a"), StatusCode.INVALID_ARGUMENT),
        (Problem(422, "a"), StatusCode.INVALID_ARGUMENT),
        (Problem(502, "a"), StatusCode.UNKNOWN),
        (of_reply(Reply(429, "a")), StatusCode.RESOURCE_EXHAUSTED),
        (busy("a"), StatusCode.UNAVAILABLE),
        (NoBrokerError("a"), StatusCode.UNAVAILABLE),
        (BusyError("a"), StatusCode.RESOURCE_EXHAUSTED),
        (Refusal(StatusCode.ABORTED, "a"), StatusCode.ABORTED),
        (ExceptionGroup("many", [Problem(404, "a")]), StatusCode.NOT_FOUND),
    ],
)
def test_statuses(error: Exception, code: StatusCode) -> None:
    refusal = refusal_of(error, CONFLICT)
    assert refusal is not None
    assert (refusal.code, refusal.text) == (code, "a")


def test_an_error_that_is_not_expected() -> None:
    assert refusal_of(KeyError("a"), CONFLICT) is None


def test_texts_fit_into_a_header() -> None:
    assert shortened("plain") == "plain"
    assert shortened("half \ud800") == "half ?"
    for letter in "xü漢🎭":
        text = shortened(letter * 3000)
        assert len(text.encode()) <= TEXT_BYTES_MAX
        assert text.strip(letter) == "…"


def test_a_wait_ends_before_the_deadline() -> None:
    assert time_left_s(None) == float("inf")
    assert time_left_s(3600) == 3599
    assert time_left_s(1) == 0.9
    assert time_left_s(0.2) == pytest.approx(0.1)
    assert time_left_s(0.01) == 0


def test_places() -> None:
    places = Places(1, "requests wait")
    with places.one():
        with pytest.raises(Refusal) as caught, places.one():
            raise AssertionError
        assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED
        assert str(caught.value) == (
            "1 requests wait at this edge, as many as may: try again, or at another edge"
        )
    with places.one():
        pass
