"""The broker's clock, and a peer's copy of it."""

from __future__ import annotations

from understudy_broker.clock import Clock, PeerClock

MS = 1_000_000


def test_the_clock_follows_elapsed_time_and_not_the_wall_clock() -> None:
    wall, elapsed = [5_000 * MS], [70 * MS]
    clock = Clock(wall_ns=lambda: wall[0], elapsed_ns=lambda: elapsed[0])
    assert clock() == 5_000
    elapsed[0] += 30 * MS
    wall[0] -= 1_000 * MS
    assert clock() == 5_030


def test_the_clock_starts_no_earlier_than_the_store_and_never_goes_back() -> None:
    elapsed = [0]
    clock = Clock(9_000, wall_ns=lambda: 5_000 * MS, elapsed_ns=lambda: elapsed[0])
    assert clock() == 9_000
    elapsed[0] = 2 * MS
    assert clock() == 9_002
    elapsed[0] = 1 * MS
    assert clock() == 9_002


def test_a_peer_uses_the_brokers_time_whatever_its_own_wall_clock_shows() -> None:
    wall, elapsed = [5_000 * MS], [70 * MS]
    clock = PeerClock(wall_ns=lambda: wall[0], elapsed_ns=lambda: elapsed[0])
    assert clock() == 5_000
    clock.synchronize(90_000, round_trip_ms=4)
    assert clock() == 90_002
    wall[0] -= 3_600_000 * MS
    elapsed[0] += 30 * MS
    assert clock() == 90_032
    clock.synchronize(80_000, round_trip_ms=0)
    assert clock() == 80_000, "another broker may have another time"
