"""Metrics: plain numbers that the parts of the core fill and a shell reads.

A counter is an attribute, because it is counted on the hot path: ``metrics.frames += 1``. A number
that another part keeps (sizes, states) is read only when it is asked for, from a source that the
other part has registered. `Metrics.read` gives all of them by name; ``understudy groups`` shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

#: reads numbers by name
Source: TypeAlias = Callable[[], Mapping[str, int]]

_COUNTERS = (
    "frames",
    "malformed",
    "frames_repeated",
    "frames_missing",
    "frames_flooding",
    "refused",
    "requests",
    "commands",
    "stale_writes",
    "dispatched",
    "forwarded",
    "forwards_failed",
    "settled",
    "commits",
    "beats",
    "connections_lost",
    "leases_lapsed",
    "leases_extended",
    "parked",
    "peers_too_slow",
)


class Metrics:
    """Counters since the start, each only ever growing, and sources of further numbers."""

    __slots__ = (*_COUNTERS, "_sources")

    def __init__(self) -> None:
        #: frames taken from peers, well formed or not
        self.frames = 0
        #: frames that were not well formed, were too large or of another protocol version
        self.malformed = 0
        #: frames that came a second time, and gaps in the numbers of those that came
        self.frames_repeated = 0
        self.frames_missing = 0
        #: frames that were not read, because their identities flood the broker
        self.frames_flooding = 0
        #: `Refused` messages sent
        self.refused = 0
        #: requests performed, and commands in them (a fence counts the commands inside it)
        self.requests = 0
        self.commands = 0
        #: writes that were refused because their version was no longer held
        self.stale_writes = 0
        #: invokes and resumes handed to nodes
        self.dispatched = 0
        #: deliveries that carriers have made, and those that they could not make
        self.forwarded = 0
        self.forwards_failed = 0
        #: promises settled
        self.settled = 0
        #: batches committed that changed something
        self.commits = 0
        #: heartbeats received
        self.beats = 0
        self.connections_lost = 0
        self.leases_lapsed = 0
        #: silent nodes whose lease was extended, because their process lived
        self.leases_extended = 0
        #: tasks halted because their nodes kept vanishing
        self.parked = 0
        #: peers dropped because they did not read what they were sent
        self.peers_too_slow = 0
        self._sources: list[Source] = []

    def add_source(self, source: Source) -> None:
        """Register a function that reads further numbers; no other source may use their names."""
        self._sources.append(source)

    def read(self) -> dict[str, int]:
        """Return all numbers by name."""
        numbers = {name: getattr(self, name) for name in _COUNTERS}
        for source in self._sources:
            numbers.update(source())
        return numbers
