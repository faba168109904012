"""The turns of deliveries to the same host and port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Turns:
    """Lets few deliveries to a host and port be under way at a time; the others wait.

    Parameters
    ----------
    host_max
        How many.
    """

    def __init__(self, host_max: int) -> None:
        self._host_max = host_max
        self._hosts: dict[tuple[str, int], trio.CapacityLimiter] = {}

    def __len__(self) -> int:
        """Return to how many hosts and ports deliveries are under way, or wait."""
        return len(self._hosts)

    @asynccontextmanager
    async def turn(self, host: str, port: int) -> AsyncIterator[None]:
        """Wait until few enough are under way, and count as one of them in the block."""
        key = (host, port)
        limiter = self._hosts.get(key)
        if limiter is None:
            limiter = self._hosts[key] = trio.CapacityLimiter(self._host_max)
        try:
            async with limiter:
                yield
        finally:
            statistics = limiter.statistics()
            if not statistics.borrowed_tokens and not statistics.tasks_waiting:
                self._hosts.pop(key, None)
