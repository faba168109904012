"""Ways to a broker: ZeroMQ's own, and others, such as through an edge."""

from __future__ import annotations

from typing import Final, Protocol


class Way(Protocol):
    """Leads connections to brokers. Everything is called on the loop of the links."""

    def entrance(self, url: str) -> str:
        """Return the address at which a connection to the broker at `url` begins."""

    @property
    def obstacle(self) -> str | None:
        """Why the last connection came to nothing, in words; None if it did not."""


class _Direct:
    """ZeroMQ's own way: the address itself."""

    obstacle = None

    def entrance(self, url: str) -> str:
        """Return the address as it is."""
        return url


DIRECT: Final[Way] = _Direct()
