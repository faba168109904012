"""The broker's clock, and a peer's copy of it."""

from __future__ import annotations

from datetime import date

import pytest

from understudy_broker.clock import EARLIEST_MS, FAR_MS, JUMP_MS, Clock, PeerClock, question
from understudy_store.changes import Snapshot
from understudy_store.pending_row import to_pending_row
from understudy_store.records import EMPTY, PENDING, PromiseRecord, Row, ScheduleRecord

MS = 1_000_000
HOUR = 3_600_000
DAY = 24 * HOUR
YEAR = 365 * DAY
#: 2026-11-29 00:00 UTC
TODAY = 1_795_910_400_000


class Machine:
    """A machine with a wall clock that can be set, and a clock that nobody can set."""

    def __init__(self, wall_ms: int = TODAY) -> None:
        self.wall_ms = wall_ms
        self.elapsed_ms = 70

    def clock(self, floor_ms: int = 0, accepted: date | None = None) -> Clock:
        return Clock(
            floor_ms,
            accepted=accepted,
            wall_ns=lambda: self.wall_ms * MS,
            elapsed_ns=lambda: self.elapsed_ms * MS,
        )

    def sleep(self, ms: int) -> None:
        self.wall_ms += ms
        self.elapsed_ms += ms


def test_the_clock_follows_elapsed_time_and_not_the_wall_clock() -> None:
    machine = Machine()
    clock = machine.clock()
    assert clock() == TODAY
    machine.elapsed_ms += 30
    machine.wall_ms -= 1_000
    assert clock() == TODAY + 30


def test_the_clock_starts_no_earlier_than_the_store_and_never_goes_back() -> None:
    machine = Machine(5_000)
    clock = machine.clock(9_000)
    assert clock() == 9_000
    machine.elapsed_ms += 2
    assert clock() == 9_002
    machine.elapsed_ms -= 1
    assert clock() == 9_002


@pytest.mark.parametrize("jump", [-JUMP_MS, -HOUR, -1_000, 1_000, HOUR, JUMP_MS])
def test_schedules_follow_a_wall_clock_that_is_set(jump: int) -> None:
    machine = Machine()
    clock = machine.clock()
    assert clock.compare() is None
    machine.sleep(5_000)
    machine.wall_ms += jump
    text = clock.compare()
    assert text is not None
    assert f"set by {jump / 1000:+.0f} s" in text
    assert clock.ahead_ms == -jump
    assert clock() == TODAY + 5_000
    machine.sleep(5_000)
    assert clock.compare() is None
    machine.wall_ms -= jump
    machine.sleep(1_000)
    assert clock.compare() is not None
    assert clock.ahead_ms == 0


def test_small_corrections_are_not_followed_nor_looked_for_all_the_time() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall_ms += 999
    assert clock.compare() is None
    machine.wall_ms += 1
    assert clock.compare() is None, "it was compared less than a second ago"
    machine.sleep(1_000)
    assert clock.compare() is not None
    assert clock.ahead_ms == -1_000


@pytest.mark.parametrize("jump", [-50 * YEAR, -JUMP_MS - 1, JUMP_MS + 1, 73 * YEAR])
def test_a_far_jump_is_held_and_said_each_hour_until_the_clock_is_set_right(jump: int) -> None:
    machine = Machine()
    clock = machine.clock()
    clock.compare()
    machine.sleep(HOUR)
    machine.wall_ms += jump
    said = []
    for _ in range(100):
        text = clock.compare()
        if text is not None:
            said.append(text)
        assert clock.ahead_ms == 0
        machine.sleep(60_000)
    assert len(said) == 2
    assert "2026-11-29 01:00:00 UTC" in said[0]
    assert "--accept-clock" in said[0]
    assert clock() == TODAY + HOUR + 100 * 60_000
    machine.wall_ms += 5_000 - jump
    assert clock.compare() is not None
    assert clock.ahead_ms == -5_000


def test_a_store_from_the_future_goes_on_from_there() -> None:
    """It was made with a wrong clock: its time cannot go back, and nothing ends early or late."""
    future = TODAY + 73 * YEAR
    clock = Machine().clock(future)
    assert clock() == future
    text = clock.compare()
    assert clock.ahead_ms == 0
    assert text is not None
    assert "2026-11-29" in text
    assert "2099-11-" in text
    # A person says that the clock is right: schedules run by it, also after further corrections.
    machine = Machine()
    clock = machine.clock(future, date(2026, 11, 29))
    assert (clock(), clock.ahead_ms) == (future, 73 * YEAR)
    machine.sleep(2_000)
    machine.wall_ms += HOUR
    assert clock.compare() is not None
    assert clock.ahead_ms == 73 * YEAR - HOUR


def test_a_wall_clock_a_little_behind_the_store_is_followed_at_once() -> None:
    clock = Machine().clock(TODAY + HOUR)
    assert (clock(), clock.ahead_ms) == (TODAY + HOUR, HOUR)
    assert clock.compare() is None
    assert Machine().clock(TODAY + 999).ahead_ms == 0


@pytest.mark.parametrize("behind", [HOUR, 20 * DAY, 50 * YEAR])
def test_a_machine_without_a_battery_may_have_been_away_for_long(behind: int) -> None:
    """Its clock shows some time before the store's; how long it was away is seen later."""
    machine = Machine(TODAY - behind)
    clock = machine.clock(TODAY)
    clock.compare()
    assert clock.ahead_ms == (behind if behind <= FAR_MS else 0)
    machine.sleep(60_000)
    machine.wall_ms = TODAY + 29 * DAY
    assert clock.compare() is not None
    assert clock.ahead_ms == 60_000 - 29 * DAY
    assert clock() == TODAY + 60_000
    # Now the clock has been set, and what is set again is doubted as usual.
    machine.sleep(60_000)
    machine.wall_ms += 29 * DAY
    assert clock.compare() is not None
    assert clock.ahead_ms == 60_000 - 29 * DAY


def _snapshot(
    latest: int, timeout_at: int | None = None, next_run_at: int | None = None
) -> Snapshot:
    live = []
    if timeout_at is not None:
        record = PromiseRecord("p", PENDING, EMPTY, EMPTY, {}, timeout_at, latest)
        live = [to_pending_row(Row(record))]
    schedules = []
    if next_run_at is not None:
        schedules = [ScheduleRecord("s", "* * * * *", "x", 1, EMPTY, {}, next_run_at, latest)]
    return Snapshot(latest, live, schedules=schedules)


def test_a_start_far_beyond_the_store_is_asked_about_if_anything_would_end() -> None:
    due = _snapshot(TODAY, TODAY + DAY, TODAY + HOUR)
    text = question(due, None, TODAY + 730 * DAY)
    assert text is not None
    for part in ("2028-11-28", "2026-11-29", "730 days", "1 promises", "1 schedules"):
        assert part in text
    assert text.endswith("--accept-clock 2028-11-28")
    for accepted in (date(2028, 11, 27), date(2028, 11, 28), date(2028, 11, 29)):
        assert question(due, accepted, TODAY + 730 * DAY) is None
    assert question(due, date(2026, 11, 29), TODAY + 730 * DAY) is not None
    assert question(_snapshot(TODAY, TODAY + 40 * DAY), None, TODAY + 41 * DAY) is not None
    assert question(_snapshot(TODAY, None, TODAY + HOUR), None, TODAY + 41 * DAY) is not None


def test_other_starts_are_not_asked_about() -> None:
    due = _snapshot(TODAY, TODAY + 1, TODAY + 1)
    for wall in (0, TODAY - YEAR, TODAY, TODAY + FAR_MS):
        assert question(due, None, wall) is None
    # Nothing ends by it: it was an idle broker.
    assert question(_snapshot(TODAY, TODAY + YEAR), None, TODAY + 364 * DAY) is None
    assert question(_snapshot(TODAY), None, TODAY + 50 * YEAR) is None


def test_a_new_store_is_not_begun_before_this_program_was_made() -> None:
    assert question(Snapshot(), None, EARLIEST_MS) is None
    for wall in (0, EARLIEST_MS - 1):
        text = question(Snapshot(), None, wall)
        assert text is not None
        assert "cannot be" in text
    assert question(Snapshot(), date(1970, 1, 1), HOUR) is None


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


def test_deadlines_that_were_counted_before_the_first_welcome_are_known_and_amended() -> None:
    """Whatever the wall clock shows; and no deadline that was counted later is taken for one."""
    elapsed = [70 * MS]
    clock = PeerClock(wall_ns=lambda: 0, elapsed_ns=lambda: elapsed[0])
    early = clock.for_deadlines() + 30 * DAY
    assert early < -(2**59)
    elapsed[0] += 5_000 * MS
    clock.synchronize(TODAY, round_trip_ms=0)
    before = clock.unheard_ms
    assert before is not None
    assert early + before == TODAY - 5_000 + 30 * DAY
    assert clock.for_deadlines() == clock() == TODAY
    elapsed[0] += 1_000 * MS
    clock.synchronize(TODAY + HOUR, round_trip_ms=0)
    assert clock.unheard_ms == before
    assert clock.for_deadlines() == TODAY + HOUR
