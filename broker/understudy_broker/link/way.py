"""Ways to a broker: ZeroMQ's own, and others, such as through an edge."""

from __future__ import annotations

from typing import Final, Protocol

from understudy_broker.keys.peer_keys import PeerKeys


class Way(Protocol):
    """Leads connections to brokers. Everything is called on the loop of the links."""

    def entrance(self, url: str) -> str:
        """Return the address at which a connection to the broker at `url` begins."""

    @property
    def obstacle(self) -> str | None:
        """Why the last connection came to nothing, in words; None if it did not."""

    @property
    def keys(self) -> PeerKeys | None:
        """The keys that a broker asks for; None: it asks for none."""


class Direct:
    """ZeroMQ's own way: the address itself."""

    obstacle = None

    def __init__(self, keys: PeerKeys | None = None) -> None:
        self.keys = keys

    def entrance(self, url: str) -> str:
        """Return the address as it is."""
        return url


DIRECT: Final[Way] = Direct()
