"""The rules for restarting a dead process and for giving it up. Pure: the time is passed in.

Two bounds work together. The delay grows with every death in a row, so that a process that cannot
start does not use up a processor; one that has run for a while starts again at the smallest delay.
The limit counts restarts in a sliding window, so that a process that always dies a little later
than that is given up as well, and its failure becomes visible.

Both bounds are about a process that cannot start. One that has served is never given up: what ends
it from then on, with whatever exit code, is a call that it was given, and other processes of the
pool, and all other calls, must not end because of that.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """Delays and limits for the restarts of one process.

    Attributes
    ----------
    initial_s
        Seconds before the first restart; 0 is allowed.
    factor
        Multiplies the delay with each death in a row.
    max_s
        The longest delay, in seconds.
    stable_s
        A process that has run for this many seconds starts again with the delay `initial_s`.
    max_restarts
        Restarts that are allowed within `window_s` seconds; the next death is final.
    window_s
        Length of the sliding window, in seconds.
    final_codes
        Exit codes that no repetition changes, so that they are final at once; 2 is a usage error.

    Raises
    ------
    ValueError
        If a number makes no sense.
    """

    initial_s: float = 0.01
    factor: float = 2.0
    max_s: float = 5.0
    stable_s: float = 10.0
    max_restarts: int = 10
    window_s: float = 60.0
    final_codes: frozenset[int] = frozenset({2})

    def __post_init__(self) -> None:
        if self.initial_s < 0 or self.max_s < self.initial_s:
            raise ValueError("needs 0 <= initial_s <= max_s")
        if self.factor < 1:
            raise ValueError("factor must be at least 1")
        if self.stable_s < 0 or self.window_s <= 0 or self.max_restarts < 0:
            raise ValueError("needs stable_s >= 0, window_s > 0 and max_restarts >= 0")


@dataclass(frozen=True, slots=True)
class Restart:
    """Decision: start the process again in `delay_s` seconds."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Decision: give the process up; `reason` completes "it was not started again: ..."."""

    reason: str


class RestartHistory:
    """The deaths of one process; decides what follows from the next one.

    Times are in seconds, of any clock that does not go backwards.
    """

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._started_at = 0.0
        self._deaths_in_a_row = 0
        self._has_served = False
        self._restarted_at: deque[float] = deque()

    def started(self, now_s: float) -> None:
        """Note that a run has begun."""
        self._started_at = now_s

    def served(self) -> None:
        """Note that a run has begun to serve, so that the process is never given up."""
        self._has_served = True

    def exited(self, now_s: float, code: int | None) -> Restart | GiveUp:
        """Decide what follows from an end that was not requested.

        `code` is the exit code, or None if the process could not be started at all.
        """
        policy = self._policy
        if code is not None and now_s - self._started_at >= policy.stable_s:
            self._deaths_in_a_row = 0
        if self._has_served:
            return Restart(self._next_delay_s())
        if code in policy.final_codes:
            return GiveUp("that is a usage error, and would only repeat itself")
        while self._restarted_at and now_s - self._restarted_at[0] >= policy.window_s:
            self._restarted_at.popleft()
        if len(self._restarted_at) >= policy.max_restarts:
            return GiveUp(
                f"{len(self._restarted_at)} restarts in {policy.window_s:g} s are the limit"
            )
        self._restarted_at.append(now_s)
        return Restart(self._next_delay_s())

    def _next_delay_s(self) -> float:
        policy = self._policy
        delay_s = policy.initial_s
        # Multiplied step by step up to the bound, because after many deaths a power would overflow.
        for _ in range(self._deaths_in_a_row):
            if delay_s >= policy.max_s:
                break
            delay_s *= policy.factor
        self._deaths_in_a_row += 1
        return min(delay_s, policy.max_s)
