"""The steps at which a debugged call stops, and the way back."""

from __future__ import annotations

import pytest

from understudy.replays.stops import Stops
from understudy_store.records import EMPTY, HEADER_PLACE, PromiseRecord, Value

STEPS = [
    ("o.1", "lfc", "charge"),
    ("o.2", "sleep", ""),
    ("o.2.1", "lfc", "pack"),
    ("o.3", "rfc", "charge"),
    ("o.4", "promise", ""),
]
NAMED = PromiseRecord("box-7", "pending", Value({HEADER_PLACE: "o.3"}), EMPTY, {}, 1, 0)


def walk(stops: Stops) -> list[str]:
    return [step[0] for step in STEPS if stops.reaches(*step)]


@pytest.mark.parametrize(
    ("at", "stop"),
    [
        ("1", "o.1"),
        ("3", "o.3"),
        ("o.2.1", "o.2.1"),
        ("charge", "o.1"),
        ("sleep", "o.2"),
        ("promise", "o.4"),
        ("rpc", "o.3"),
        ("box-7", "o.3"),
    ],
)
def test_it_stops_once_at_a_step_by_number_id_or_name(at: str, stop: str) -> None:
    stops = Stops("o", at, [NAMED])
    assert walk(stops) == [stop]
    assert stops.missed is None


def test_a_step_that_is_not_made_is_told() -> None:
    stops = Stops("o", "9")
    assert walk(stops) == []
    assert (
        stops.missed == "no step '9' was reached; the steps up to here: o.1, o.2, o.2.1, o.3, o.4"
    )
    assert "none" in (Stops("o", "9").missed or "")


def test_back_goes_to_the_step_before_the_one_that_was_made() -> None:
    stops = Stops("o", "o.2.1")
    for step in STEPS[:3]:
        stops.reaches(*step)
    assert stops.back() == "o.2", "it is stopped before o.2.1"
    stops.went_on()
    assert [stops.back(count) for count in (1, 2, 3, 4)] == ["o.2.1", "o.2", "o.1", None]
    assert Stops("o").back() is None
