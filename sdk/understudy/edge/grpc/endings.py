"""Requests that last: each ends by itself, in time, or with the edge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Endings:
    """The requests that last, on the trio loop. One task ends them all when the edge ends.

    Parameters
    ----------
    draining
        Set when the edge is to end.
    """

    def __init__(self, draining: trio.Event) -> None:
        self._draining = draining
        self._scopes: set[trio.CancelScope] = set()

    @property
    def come(self) -> bool:
        """True once the edge is to end."""
        return self._draining.is_set()

    async def run(self) -> None:
        """End all requests when the edge ends."""
        await self._draining.wait()
        for scope in self._scopes:
            scope.cancel()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Leave the block after some time, or when the edge ends."""
        with trio.move_on_after(seconds) as scope:
            self._scopes.add(scope)
            try:
                if self.come:
                    scope.cancel()
                yield
            finally:
                self._scopes.discard(scope)
