"""The machines on which nodes run, for the attempt log: a record names the host of its node."""

from __future__ import annotations

from typing import Final

#: nodes whose hosts are remembered; the oldest are forgotten
HOSTS_MAX: Final = 4096


class Hosts:
    """The hosts of nodes by pid, as far as they are remembered."""

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: dict[str, str] = {}

    def note(self, pid: str, host: str) -> None:
        """Note the host on which a node runs."""
        self._of.pop(pid, None)
        self._of[pid] = host
        if len(self._of) > HOSTS_MAX:
            del self._of[next(iter(self._of))]

    def of(self, pid: str) -> str | None:
        """Return the host of a node; None if it is unknown."""
        return self._of.get(pid)
