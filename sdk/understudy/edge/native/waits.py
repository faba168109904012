"""Requests that wait for a settlement: so many, until the client hangs up or the edge ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from understudy.edge.edge import Edge
from understudy.edge.native.exchange import Exchange
from understudy.edge.native.problems import busy


class Waits:
    """The waits of all requests of an edge."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._scopes: set[trio.CancelScope] = set()
        self._is_watching = False

    @asynccontextmanager
    async def waiting(self, exchange: Exchange) -> AsyncIterator[trio.CancelScope]:
        """Count a request that waits, and cancel the block if its client hangs up.

        Yields a scope in which to wait: it is canceled when the edge ends.

        Raises
        ------
        Problem
            503 as many requests wait as may.
        """
        if len(self._scopes) >= self._edge.settings.waiting_max:
            raise busy(
                f"{len(self._scopes):,} requests wait at this edge, as many as may: try again, at "
                "another edge, or without wait"
            )
        self._watch_end()
        scope = trio.CancelScope()
        if self._edge.draining.is_set():
            scope.cancel()
        self._scopes.add(scope)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_with, exchange, nursery.cancel_scope)
                yield scope
                nursery.cancel_scope.cancel()
        finally:
            self._scopes.discard(scope)

    def _watch_end(self) -> None:
        if not self._is_watching:
            self._is_watching = True
            trio.lowlevel.spawn_system_task(self._end)

    async def _end(self) -> None:
        """End all waits when the edge ends. One task sees to it, not one for each wait."""
        await self._edge.draining.wait()
        for scope in self._scopes:
            scope.cancel()


async def _cancel_with(exchange: Exchange, scope: trio.CancelScope) -> None:
    await exchange.disconnected()
    scope.cancel()
