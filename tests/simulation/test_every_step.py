"""A crash at every step of each program; ``make crashes`` tries all victims, and pairs of steps."""

from __future__ import annotations

import pytest

from tests.simulation.every_step import (
    ALL,
    BETWEEN,
    VICTIMS,
    VICTIMS_OF_TWO,
    Stop,
    pairs,
    play,
    singles,
    try_stops,
)

#: The brokers among the victims.
BROKERS = ("broker", "a", "b")


@pytest.mark.parametrize("name", ALL)
def test_a_crash_at_each_point_changes_nothing(name: str) -> None:
    """At each point one process is killed: a broker and the others take turns."""
    victims = VICTIMS_OF_TWO if name in BETWEEN else VICTIMS
    brokers = [victim for victim in victims if victim in BROKERS]
    others = [victim for victim in victims if victim not in BROKERS]
    stops = [
        stop
        for stop in singles(name)
        if stop[0][1] == _turn(others if stop[0][0] % 2 else brokers, stop[0][0])
    ]
    tried = try_stops(name, stops)
    assert not tried.wrong, "\n".join(tried.wrong[:5])
    assert tried.plays == tried.points
    assert tried.points > 50


def _turn(victims: list[str], at: int) -> str:
    """Return whose turn it is at a point."""
    return victims[at // 2 % len(victims)]


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
