"""What a broker counts since it started; `understudy groups` shows it."""

from __future__ import annotations


class Counters:
    """Plain numbers, each only ever growing."""

    __slots__ = (
        "frames",
        "malformed",
        "frames_repeated",
        "frames_missing",
        "refused",
        "requests",
        "commands",
        "stale_writes",
        "dispatched",
        "settled",
        "commits",
        "beats",
        "connections_lost",
        "leases_lapsed",
        "parked",
        "peers_too_slow",
    )

    def __init__(self) -> None:
        #: frames taken from peers, well formed or not
        self.frames = 0
        #: frames that were not well formed, too large or of another version
        self.malformed = 0
        #: frames that came a second time, and gaps in the numbers of those that came
        self.frames_repeated = 0
        self.frames_missing = 0
        #: explicit refusals sent
        self.refused = 0
        #: requests taken, and commands in them (a fence counts those inside it)
        self.requests = 0
        self.commands = 0
        #: writes of a holder whose version is no longer held
        self.stale_writes = 0
        #: invokes and resumes handed to nodes
        self.dispatched = 0
        #: promises settled
        self.settled = 0
        #: batches committed that changed something
        self.commits = 0
        self.beats = 0
        self.connections_lost = 0
        self.leases_lapsed = 0
        #: tasks halted because their nodes kept vanishing
        self.parked = 0
        self.peers_too_slow = 0

    def as_dict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}
