"""Metrics: plain numbers that the parts of the core fill and a shell reads.

A counter is an attribute, because it is counted on the hot path: ``metrics.frames += 1``. A number
that another part keeps (sizes, states) is read only when it is asked for, from a source that the
other part has registered. `Metrics.read` gives all of them by name; ``understudy groups`` shows it.

What is counted by group, or by function, is kept beside these, and `understudy_broker.core.survey`
reads it. Groups have names that anybody may choose, so the number of those that are counted by
themselves is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

from understudy_broker.core.call_tally import OTHER, CallTally
from understudy_store.changes import Changes

#: reads numbers by name
Source: TypeAlias = Callable[[], Mapping[str, int]]

#: How an attempt ends that does not end its task: the function raised and is tried again; its node
#: gave it back; its node was lost; or another node has had the task since.
AttemptEnd: TypeAlias = Literal["raised", "released", "died", "fenced"]
#: Why a task is parked: its holders kept vanishing; its code makes other calls than the history
#: has, or cannot read what is there; or its node does not know the function.
ParkReason: TypeAlias = Literal["deaths", "mismatch", "unknown"]

#: pairs of a group and something else that are counted by themselves
PAIRS_MAX: Final = 1_000

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

    __slots__ = (*_COUNTERS, "_sources", "attempts", "calls", "limited", "parks")

    def __init__(self, calls: CallTally | None = None) -> None:
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
        #: calls by group and function; None: nobody reads them
        self.calls = calls
        #: attempts that did not end their task, by group and by how they ended
        self.attempts: dict[tuple[str, str], int] = {}
        #: tasks that were parked, by group and reason
        self.parks: dict[tuple[str, str], int] = {}
        #: requests that were refused because of a limit, by the kind of limit
        self.limited: dict[str, int] = {}
        self._sources: list[Source] = []

    def take(self, changes: Changes) -> None:
        """Count what a batch changes, if anybody reads that."""
        if self.calls is not None:
            self.calls.take(changes)

    def count_attempts(self, group: str, end: AttemptEnd, count: int = 1) -> None:
        """Count attempts of tasks that did not end them."""
        if count:
            _add(self.attempts, group, end, count)

    def count_parked(self, group: str, reason: ParkReason) -> None:
        """Count a task that is parked now."""
        self.parked += 1
        _add(self.parks, group, reason, 1)

    def count_limited(self, rule: str) -> None:
        """Count a request that was refused because of a limit; there are few kinds of limits."""
        self.limited[rule] = self.limited.get(rule, 0) + 1

    def add_source(self, source: Source) -> None:
        """Register a function that reads further numbers; no other source may use their names."""
        self._sources.append(source)

    def counters(self) -> dict[str, int]:
        """Return the counters by name, without the numbers of sources."""
        return {name: getattr(self, name) for name in _COUNTERS}

    def read(self) -> dict[str, int]:
        """Return all numbers by name."""
        numbers = self.counters()
        for source in self._sources:
            numbers.update(source())
        return numbers


def _add(counts: dict[tuple[str, str], int], group: str, what: str, count: int) -> None:
    key = (group, what)
    if key not in counts and len(counts) >= PAIRS_MAX:
        key = (OTHER, what)
    counts[key] = counts.get(key, 0) + count
