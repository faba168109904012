"""The broker's clock (`Clock`) and a peer's copy of it (`PeerClock`), in epoch milliseconds.

Both take the wall time once and add the time that has elapsed since, measured by a clock that
nobody can set. So setting a machine's wall clock ends no sleep and no call, early or late.

A wall clock may be wrong by years: a machine without a battery begins in 1970 or 2000 until the
network has told it the time, and a broken time server may tell any. Time in a store never goes
back, so one start with a wrong clock would end everything that waits. Hence two rules:

- `question` asks a person before a broker starts at a time far beyond the latest one in its store,
  if anything would end by that.
- Schedules follow the wall clock when it is set, because they are about dates: `Clock.ahead_ms`.
  They do not follow it far, until a person has confirmed it.

What is not perfect: a new store has no time to compare with, so only a clock that is earlier than
this program is noticed there. And a smaller jump is believed: schedules then make up for all that
came due in it, as after an absence.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final

from understudy_store.changes import Snapshot
from understudy_store.moments import moment

#: An absence beyond this is doubted at a start: it is the usual timeout of a call, and wrong clocks
#: are usually wrong by years.
FAR_MS: Final = 30 * 24 * 3_600_000
#: A jump beyond this is doubted while the broker runs, because it knows how much time has elapsed.
JUMP_MS: Final = 24 * 3_600_000
#: Differences below this are not followed: clocks are corrected by such amounts all the time.
NEAR_MS: Final = 1_000
#: No clock that is right shows an earlier time, because this program is younger.
EARLIEST_MS: Final = 1_767_225_600_000
#: how often the wall clock is compared, and how often a doubt is repeated in the log
_COMPARE_NS: Final = 1_000_000_000
_REPEAT_NS: Final = 3_600_000_000_000
#: Times of a peer that has not heard the broker's begin that long before 1970.
_UNHEARD_MS: Final = 2**60
#: A person who says which date it is may be in any time zone, shortly before or after midnight.
_ACCEPTED_MS: Final = 36 * 3_600_000


def _elapsed_clock() -> Callable[[], int]:
    """Return a clock of the nanoseconds since some fixed moment.

    They include the time for which the machine was suspended, where the system counts it.
    """
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns if boottime is None else partial(time.clock_gettime_ns, boottime)


_elapsed_ns = _elapsed_clock()


def is_accepted(accepted: date | None, wall_ms: int) -> bool:
    """Return whether `wall_ms` is the date that a person has confirmed."""
    if accepted is None:
        return False
    noon = datetime(accepted.year, accepted.month, accepted.day, 12, tzinfo=UTC)
    return abs(wall_ms - noon.timestamp() * 1000) <= _ACCEPTED_MS


def question(snapshot: Snapshot, accepted: date | None, wall_ms: int) -> str | None:
    """Return what to ask a person before a broker goes on from `snapshot`; None: nothing.

    Parameters
    ----------
    accepted
        The date that a person has confirmed.
    wall_ms
        What the wall clock shows, epoch milliseconds.
    """
    latest_ms = snapshot.now
    if is_accepted(accepted, wall_ms):
        return None
    if latest_ms == 0:
        if wall_ms >= EARLIEST_MS:
            return None
        return (
            f"the clock of this machine says {moment(wall_ms)}, which cannot be. {_advice(wall_ms)}"
        )
    if wall_ms - latest_ms <= FAR_MS:
        return None
    calls = sum(row.timeout_at <= wall_ms for row in snapshot.live)
    schedules = sum(schedule.next_run_at <= wall_ms for schedule in snapshot.schedules)
    if not calls and not schedules:
        return None
    return (
        f"the clock of this machine says {moment(wall_ms)}, but the latest time in the store is "
        f"{moment(latest_ms)}, {timedelta(milliseconds=wall_ms - latest_ms).days} days before: "
        f"{calls} promises that are pending would end at once, and {schedules} schedules run. "
        f"{_advice(wall_ms)}"
    )


def _advice(wall_ms: int) -> str:
    day = moment(wall_ms).partition(" ")[0]
    return f"Set the clock if it is wrong; if it is right, start with --accept-clock {day}"


class Clock:
    """The broker's clock. It never goes back; call it to read it.

    Parameters
    ----------
    floor_ms
        The earliest time that it shows. The broker passes the latest time that the store has seen,
        so the clock does not go back at a restart either.
    accepted
        The date that a person has confirmed: if the wall clock shows it now, schedules follow it,
        however far away it is.
    wall_ns, elapsed_ns
        The wall clock and the elapsed time, in nanoseconds; tests replace them.

    Attributes
    ----------
    ahead_ms
        How far this clock is ahead of the date by which schedules run. It is 0 until the wall clock
        is set, or where it was right at each start.
    """

    def __init__(
        self,
        floor_ms: int = 0,
        *,
        accepted: date | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
        elapsed_ns: Callable[[], int] = _elapsed_ns,
    ) -> None:
        wall, elapsed = wall_ns(), elapsed_ns()
        self._wall_ns = wall_ns
        self._elapsed_ns = elapsed_ns
        self._base_ns = max(wall, floor_ms * 1_000_000) - elapsed
        self._last_ms = floor_ms
        self._compare_at_ns = elapsed
        self._repeat_at_ns = elapsed
        self.ahead_ms = 0
        ahead_ms = (self._base_ns + elapsed - wall) // 1_000_000
        # A wall clock behind the store is known to be wrong. How long the broker was away will be
        # seen when it is set.
        self._believed_ms = FAR_MS if ahead_ms >= NEAR_MS else JUMP_MS
        if NEAR_MS <= ahead_ms <= FAR_MS or is_accepted(accepted, wall // 1_000_000):
            self.ahead_ms = ahead_ms

    def __call__(self) -> int:
        """Return the time in epoch milliseconds."""
        now = (self._base_ns + self._elapsed_ns()) // 1_000_000
        if now > self._last_ms:
            self._last_ms = now
        return self._last_ms

    def compare(self) -> str | None:
        """Compare with the wall clock, once a second at most; return a line for the log, or None.

        `ahead_ms` follows the wall clock, unless that has jumped far away.
        """
        elapsed = self._elapsed_ns()
        if elapsed < self._compare_at_ns:
            return None
        self._compare_at_ns = elapsed + _COMPARE_NS
        wall = self._wall_ns()
        ahead_ms = (self._base_ns + elapsed - wall) // 1_000_000
        jump_ms = self.ahead_ms - ahead_ms
        if abs(jump_ms) < NEAR_MS:
            self._repeat_at_ns = elapsed
            return None
        shown = moment(wall // 1_000_000)
        if abs(jump_ms) > self._believed_ms and abs(ahead_ms) > self._believed_ms:
            if elapsed < self._repeat_at_ns:
                return None
            self._repeat_at_ns = elapsed + _REPEAT_NS
            own_ms = (self._base_ns + elapsed) // 1_000_000
            return (
                f"the clock of this machine says {shown}, but by the store's time it is "
                f"{moment(own_ms - self.ahead_ms)}: the broker goes on by the latter, and "
                "schedules too. Set the clock if it is wrong; if it is right, restart the broker "
                f"with --accept-clock {shown.partition(' ')[0]}"
            )
        self.ahead_ms = ahead_ms
        self._believed_ms = JUMP_MS
        self._repeat_at_ns = elapsed
        return (
            f"the clock of this machine was set by {jump_ms / 1000:+.0f} s, to {shown}: schedules "
            "follow it; timeouts, sleeps and leases go on as before"
        )


def before_any_broker() -> int:
    """Return the time by which a peer counts deadlines before it knows a broker's.

    It is as `PeerClock.for_deadlines` before the first welcome, for peers that have no clock yet.
    """
    return _elapsed_ns() // 1_000_000 - _UNHEARD_MS


class PeerClock:
    """A peer's copy of the broker's clock; the deadlines that a peer asks for are based on it.

    It is synchronized at each welcome, and wrong by at most half of the welcome's round trip.
    Before the first welcome it shows this machine's wall time, and deadlines are counted by a time
    that is none (`for_deadlines`), to be amended once the broker's is known. So a wall clock that
    is wrong, or is set while the peer runs, makes nothing expire early or late.

    Parameters
    ----------
    wall_ns, elapsed_ns
        The wall clock and the elapsed time, in nanoseconds; tests replace them.

    Attributes
    ----------
    unheard_ms
        What to add to deadlines that were counted before the first welcome; None before it.
    """

    def __init__(
        self,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        elapsed_ns: Callable[[], int] = _elapsed_ns,
    ) -> None:
        self._elapsed_ns = elapsed_ns
        self._base_ns = wall_ns() - elapsed_ns()
        self._deadlines_base_ns = -_UNHEARD_MS * 1_000_000
        self.unheard_ms: int | None = None

    def synchronize(self, now_ms: int, round_trip_ms: int) -> None:
        """Set the clock by a welcome.

        Parameters
        ----------
        now_ms
            The broker's time, as the welcome says it.
        round_trip_ms
            The time between sending the hello and receiving the welcome.
        """
        self._base_ns = now_ms * 1_000_000 + round_trip_ms * 500_000 - self._elapsed_ns()
        if self.unheard_ms is None:
            self.unheard_ms = (self._base_ns - self._deadlines_base_ns) // 1_000_000
        self._deadlines_base_ns = self._base_ns

    def for_deadlines(self) -> int:
        """Return the time by which to count a deadline, in epoch milliseconds.

        Before the first welcome it is far below 0, and so is each deadline that is counted by it.
        Adding `unheard_ms`, once that is known, makes it one by the broker's clock.
        """
        return (self._deadlines_base_ns + self._elapsed_ns()) // 1_000_000

    def __call__(self) -> int:
        """Return the time in epoch milliseconds."""
        return (self._base_ns + self._elapsed_ns()) // 1_000_000
