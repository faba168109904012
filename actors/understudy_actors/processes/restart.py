"""When a dead process runs again, and when it is hopeless. Pure: the time is passed in.

Two bounds work together. The delay grows with every death in a row, so that a process that cannot
start does not burn a processor; one that has run for a while starts again at the smallest delay.
The limit counts restarts in a sliding window, so that a process that always dies a little later
than that is given up as well, and its failure is seen instead of hidden.
"""

from __future__ import annotations

import signal
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """How one process is restarted.

    Raises
    ------
    ValueError
        If a number makes no sense.
    """

    #: seconds before the first restart; 0 is allowed
    initial_s: float = 0.01
    #: by which the delay grows with each death in a row
    factor: float = 2.0
    #: seconds that no delay exceeds
    max_s: float = 5.0
    #: a process that ran for so many seconds starts again at `initial_s`
    stable_s: float = 10.0
    #: so many restarts are allowed in `window_s` seconds; the next death is final
    max_restarts: int = 10
    window_s: float = 60.0
    #: exit codes that no repetition mends, final at once: 2 is a usage error
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
    """Start it again in `delay_s` seconds."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not start it again; `reason` completes the sentence "it was not started again: ..."."""

    reason: str


class RestartHistory:
    """The deaths of one process, and what follows from the next one.

    Times are seconds of any clock that does not go backwards.
    """

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._started_at = 0.0
        self._deaths_in_a_row = 0
        self._restarted_at: deque[float] = deque()

    def started(self, now_s: float) -> None:
        """The process runs."""
        self._started_at = now_s

    def exited(self, now_s: float, code: int | None) -> Restart | GiveUp:
        """The process has ended, unasked, with `code` (None: it could not be started at all)."""
        policy = self._policy
        if code in policy.final_codes:
            return GiveUp("that is a usage error, and would only repeat itself")
        if code is not None and now_s - self._started_at >= policy.stable_s:
            self._deaths_in_a_row = 0
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
        # Multiplied step by step up to the bound: a power of a long row of deaths would overflow.
        for _ in range(self._deaths_in_a_row):
            if delay_s >= policy.max_s:
                break
            delay_s *= policy.factor
        self._deaths_in_a_row += 1
        return min(delay_s, policy.max_s)


def describe_exit(code: int | None) -> str:
    """What has happened to a process: "exited with code 1", "was killed by SIGKILL"."""
    if code is None:
        return "could not be started"
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
