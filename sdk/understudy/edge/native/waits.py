"""Requests that wait for a settlement: so many, until the client hangs up or the edge ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from understudy.edge.edge import Edge
from understudy.edge.native.exchange import Exchange
from understudy.edge.native.problems import busy

#: A wait that ends within this time is not worth a task that notices when the client hangs up.
SHORT_S: Final = 0.1


class HungUpError(Exception):
    """The client has hung up, so nobody waits for an answer."""


class Waits:
    """The waits of all requests of an edge."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._count = 0
        self._scopes: set[trio.CancelScope] = set()
        self._is_watching = False

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count a request that is going to wait.

        Raises
        ------
        Problem
            503 as many requests wait as may.
        """
        if self._count >= self._edge.settings.waiting_max:
            raise busy(
                f"{self._count:,} requests wait at this edge, as many as may: try again, at "
                "another edge, or without wait"
            )
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    async def until(self, happens: trio.Event, seconds: float, exchange: Exchange) -> None:
        """Wait for an event, for some time; not beyond the end of the edge.

        Raises
        ------
        HungUpError
            The client has.
        """
        with trio.move_on_after(min(seconds, SHORT_S)):
            await happens.wait()
            return
        if seconds <= SHORT_S or self._edge.draining.is_set():
            return
        self._watch_end()
        is_gone = True
        async with trio.open_nursery() as nursery:
            scope = nursery.cancel_scope
            nursery.start_soon(_cancel_with, exchange, scope)
            with trio.move_on_after(seconds - SHORT_S) as waiting:
                self._scopes.add(waiting)
                try:
                    await happens.wait()
                finally:
                    self._scopes.discard(waiting)
            is_gone = False
            scope.cancel()
        if is_gone:
            raise HungUpError

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
