"""Offers that fail are made again soon, and places rest whose receivers want to."""

from __future__ import annotations

import pytest

from tests.unit.broker.core.rig import Rig
from tests.unit.broker.core.test_relay import (
    CLIENT,
    EDGE,
    HOLDER,
    PID,
    URL,
    carry,
    end,
    forwards,
    listened,
    pass_time,
    rig,
    task,
    texts,
)  # fmt: skip
from understudy_broker.core.place_states import REST_MS_MAX, REST_MS_MIN
from understudy_broker.protocol.messages import Forwarded
from understudy_store.commands import PromiseSettle, TaskAcquire, TaskRelease

__all__ = ["rig"]


def attempts(rig: Rig, error: str, for_ms: int, step_ms: int = 500) -> list[float]:
    """When the offer of task ``a`` is made, in seconds from now, while each one fails."""
    began, times = rig.now, []
    while rig.now < began + for_ms:
        if forwards(rig):
            times.append((rig.now - began) / 1_000)
            end(rig, "a", error=error)
        pass_time(rig, step_ms, step_ms)
    return times


def test_an_offer_that_fails_is_made_again_soon(rig: Rig) -> None:
    carry(rig)
    task(rig, "a")
    assert attempts(rig, "status 500", 64_000) == [0, 1, 3, 7, 15, 31, 60]
    # The place is down for long: it is asked as seldom as the store offers.
    assert len(attempts(rig, "status 500", 3_600_000)) == 60
    assert rig.core.metrics.read()["forwards_pausing"] == 0
    assert len([text for text in texts(rig) if "a delivery has failed" in text]) == 1


def test_a_task_that_always_fails_at_a_place_that_works(rig: Rig) -> None:
    carry(rig)
    task(rig, "a")
    times: list[int] = []
    began = rig.now
    for n in range(180):
        for id_, version in forwards(rig):
            if id_ == "a":
                times.append((rig.now - began) // 1_000)
            end(rig, id_, version, error="status 500" if id_ == "a" else None)
        task(rig, f"b{n}")
        pass_time(rig, 1_000)
    assert times == [0, 1, 3, 7, 15, 31, 60, 61, 63, 67, 75, 91, 120, 121, 123, 127, 135, 151]


def test_nothing_is_made_again_of_an_offer_whose_task_is_taken_or_settled(rig: Rig) -> None:
    carry(rig)
    for id_ in ("taken", "settled"):
        task(rig, id_)
        end(rig, id_, error="status 500")
    assert rig.core.metrics.read()["forwards_pausing"] == 2
    forwards(rig)
    assert rig.reply(HOLDER, TaskAcquire("taken", 0, PID, 10_000)).ok
    assert rig.reply(CLIENT, PromiseSettle("settled", "resolved")).ok
    assert rig.core.metrics.read()["forwards_pausing"] == 1
    pass_time(rig, 3_000)
    assert forwards(rig) == []
    assert rig.core.metrics.read()["forwards_pausing"] == 0


def test_an_offer_whose_task_is_acquired_has_not_failed(rig: Rig) -> None:
    """A receiver that answers only when the task is done may take longer than the edge waits."""
    carry(rig)
    task(rig, "a")
    assert rig.reply(HOLDER, TaskAcquire("a", 0, PID, 10_000)).ok
    end(rig, "a", error="no answer within 20 s")
    assert not any("a delivery has failed" in text for text in texts(rig))
    assert rig.reply(HOLDER, TaskRelease("a", 1)).ok
    assert forwards(rig) == [("a", 0), ("a", 1)]


def test_a_pause_ends_with_a_new_version_of_the_task(rig: Rig) -> None:
    carry(rig)
    task(rig, "a")
    for pause_ms in (1_000, 2_000, 4_000):
        end(rig, "a", error="status 500")
        pass_time(rig, pause_ms)
    assert len(forwards(rig)) == 4
    end(rig, "a", error="status 500")
    assert rig.reply(HOLDER, TaskAcquire("a", 0, PID, 10_000)).ok
    assert rig.reply(HOLDER, TaskRelease("a", 1)).ok
    rig.turn()
    assert forwards(rig) == [("a", 1)]
    assert rig.core.metrics.read()["forwards_pausing"] == 0


@pytest.mark.parametrize(
    ("asked_ms", "rest_ms"),
    [(10_000, 10_000), (REST_MS_MAX * 100, REST_MS_MAX), (-1, REST_MS_MIN)],
)
def test_a_place_rests_as_its_receiver_wants(rig: Rig, asked_ms: int, rest_ms: int) -> None:
    carry(rig)
    task(rig, "a")
    task(rig, "b")
    other = "https://other.example/"
    assert forwards(rig) == [("a", 0), ("b", 0)]
    rig.send(EDGE, Forwarded(URL, "a", 0, "status 503", None, asked_ms))
    rig.send(EDGE, Forwarded(URL, "b", 0, "status 503", None, asked_ms // 2))
    rig.turn()
    task(rig, "c")
    task(rig, "d", other)
    listened(rig, "p")
    assert forwards(rig) == [("d", 0)]
    pass_time(rig, rest_ms - 500, 500)
    assert forwards(rig) == []
    pass_time(rig, 500, 500)
    assert forwards(rig) == [("b", 0), ("a", 0), ("c", 0)]
    assert rig.core.metrics.read()["forwards_waiting"] == 1  # the half of the credit


def test_an_answer_without_a_failure_has_no_place_rest(rig: Rig) -> None:
    carry(rig)
    task(rig, "a")
    rig.send(EDGE, Forwarded(URL, "a", 0, None, None, 50_000))
    rig.turn()
    forwards(rig)
    task(rig, "b")
    assert forwards(rig) == [("b", 0)]
