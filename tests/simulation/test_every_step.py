"""A crash at every step of each program; ``make crashes`` tries all victims, and pairs of steps."""

from __future__ import annotations

import pytest

from tests.simulation.every_step import (
    BETWEEN,
    PROGRAMS,
    VICTIMS,
    VICTIMS_OF_TWO,
    Stop,
    pairs,
    play,
    singles,
    try_stops,
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_crash_at_each_point_changes_nothing(name: str) -> None:
    """At each point one process is killed: the broker and the others take turns."""
    others = [victim for victim in VICTIMS if victim != "broker"]
    stops = [
        stop
        for stop in singles(name)
        if stop[0][1] == (others[stop[0][0] // 2 % len(others)] if stop[0][0] % 2 else "broker")
    ]
    tried = try_stops(name, stops)
    assert not tried.wrong, "\n".join(tried.wrong[:5])
    assert tried.plays == tried.points
    assert tried.points > 50


@pytest.mark.parametrize("name", BETWEEN, ids=lambda name: name.replace(" ", "-"))
def test_a_crash_of_either_broker_changes_nothing(name: str) -> None:
    """At each step one broker crashes; the nodes and the caller have their turns as well.

    `make crashes` lets each of them crash at each step.
    """
    others = [victim for victim in VICTIMS_OF_TWO if victim not in ("a", "b")]
    stops = [
        stop
        for stop in singles(name)
        if stop[0][1] == "ab"[stop[0][0] % 2]
        or (stop[0][0] % 3 == 0 and stop[0][1] == others[stop[0][0] // 3 % len(others)])
    ]
    tried = try_stops(name, stops)
    assert not tried.wrong, "\n".join(tried.wrong[:5])
    assert tried.plays == len(stops) > tried.points
    assert tried.points > 50


def test_crashes_repeat_steps_that_are_under_way() -> None:
    """Some crashes interrupt an attempt; otherwise these plays would prove little."""
    assert try_stops("local steps", singles("local steps", victims=("n0", "n1"))).repeated > 5


@pytest.mark.parametrize("victim", ["n0", "broker"])
def test_two_crashes_change_nothing(victim: str) -> None:
    """Try some pairs of points of a small program."""
    points = play("local steps").points
    for at in range(5, points, 25):
        first: Stop = (at, victim)
        stops = pairs("local steps", first, ("broker", "n1"))[::5]
        tried = try_stops("local steps", stops)
        assert not tried.wrong, "\n".join(tried.wrong[:5])
