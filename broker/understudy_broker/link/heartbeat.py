"""`Heartbeat`: when to send signs of life, and when a silent broker counts as gone. Pure.

A peer sends a heartbeat each interval (a quarter of its lease), and the broker answers it. A peer
with nothing at stake, that is with no task, no watch and no unanswered request, sends them more
rarely: each idle interval. It sends the next one at once when it becomes busy.

Idle peers send a little early, at the next of ten fixed moments in each interval. The moments are
the same for all processes of a machine, so their heartbeats arrive together, and the broker wakes
once for all of them.

The broker owes a sign of life only for a heartbeat, or for a hello. It counts as gone after three
intervals of silence; a peer that was idle, and so has heard nothing for long, waits two intervals
from its first unanswered heartbeat.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from understudy_broker.protocol.messages import Welcome

#: the interval until a broker has told one
DEFAULT_INTERVAL_MS: Final = 2_500
#: intervals without a frame from the broker after which a connection counts as lost
SILENT_INTERVALS: Final = 3
#: moments in each interval at which idle peers send
IDLE_MOMENTS: Final = 10
#: later than any time
NEVER: Final = 1 << 62


class Heartbeat:
    """The timing of one peer's heartbeats. All times are milliseconds of one clock.

    Parameters
    ----------
    is_busy
        Returns whether the peer holds tasks or waits for settlements. It is called when a
        heartbeat is due.

    Attributes
    ----------
    interval_ms
        The time between two heartbeats of a busy peer.
    earliest_at
        The time before which no heartbeat is sent; NEVER before the welcome.
    due_at
        The time of the next heartbeat as far as is known: later than `earliest_at` if the peer is
        idle.
    silent_at
        The time at which the broker counts as gone; NEVER if it owes no sign of life.
    """

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        self._is_busy = is_busy
        self.interval_ms = self._idle_interval_ms = DEFAULT_INTERVAL_MS
        self.earliest_at = self.due_at = self.silent_at = NEVER
        self._sent_at = self._heard_at = 0
        #: True from the first unanswered heartbeat until something is heard
        self._waiting = False

    @property
    def idle(self) -> bool:
        """True if the peer had nothing at stake when its last heartbeat was due."""
        return self.due_at > self.earliest_at

    def begin(self, now: int) -> None:
        """Begin a new connection; its hello counts as a heartbeat."""
        self._sent_at = self._heard_at = now
        self._waiting = False
        self.earliest_at = self.due_at = NEVER
        self.silent_at = now + SILENT_INTERVALS * self.interval_ms

    def welcome(self, welcome: Welcome) -> None:
        """Take over the broker's intervals."""
        self.interval_ms = welcome.beat_ms
        self._idle_interval_ms = welcome.idle_beat_ms
        self.earliest_at = self.due_at = self._sent_at + self.interval_ms
        self.silent_at = NEVER

    def heard(self, now: int) -> None:
        """Note a frame from the broker."""
        self._heard_at = now
        self._waiting = False
        welcomed = self.due_at != NEVER
        self.silent_at = NEVER if welcomed else now + SILENT_INTERVALS * self.interval_ms

    def beat(self, now: int, *, waiting: bool) -> bool:
        """Return True if a heartbeat must be sent now. It counts as sent then.

        Parameters
        ----------
        now
            The time, `earliest_at` or later.
        waiting
            Whether any request is unanswered.
        """
        if not (waiting or self._waiting or self._is_busy()):
            idle_due_at = self._idle_due_at()
            if now < idle_due_at:
                self.due_at = idle_due_at
                return False
        self._sent_at = now
        self.earliest_at = self.due_at = now + self.interval_ms
        if not self._waiting:
            self._waiting = True
            # A peer that was idle has heard nothing for long. It waits as long as a busy peer
            # whose heartbeat is the first that is not answered.
            self.silent_at = max(
                self._heard_at + SILENT_INTERVALS * self.interval_ms,
                now + (SILENT_INTERVALS - 1) * self.interval_ms,
            )
        return True

    def _idle_due_at(self) -> int:
        moment_ms = self.interval_ms // IDLE_MOMENTS or 1
        latest = self._sent_at + self._idle_interval_ms
        return latest - latest % moment_ms
