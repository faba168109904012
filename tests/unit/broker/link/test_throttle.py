"""What the broker had too much of is sent again when it says, and not before."""

from __future__ import annotations

from understudy_broker.link.throttle import Throttle


def test_it_ends_with_the_next_sign_if_no_time_is_given() -> None:
    throttle = Throttle()
    assert not throttle.holds(0)
    assert not throttle.refused(None, 0)
    assert throttle.holds(1_000_000)
    throttle.heard()
    assert not throttle.holds(0)


def test_it_ends_with_its_time_and_not_with_a_sign() -> None:
    throttle = Throttle()
    assert throttle.refused(500, 1_000)
    assert not throttle.refused(700, 1_000), "the same wait goes on"
    throttle.heard()
    assert throttle.holds(1_699)
    assert not throttle.holds(1_700)
    assert throttle.until is None
    assert throttle.refused(500, 2_000), "another wait begins"
    throttle.end()
    assert not throttle.holds(0)
