"""The wish that a program with a loop of trio ends."""

from __future__ import annotations

import trio

from understudy_broker.transport.loop_lock import LoopThread


class Stop:
    """The wish that a program ends, from a signal handler or a thread."""

    def __init__(self) -> None:
        self._requested = False
        self._loop: LoopThread | None = None
        self._event: trio.Event | None = None

    def request(self) -> None:
        """End soon; also before there is a loop."""
        self._requested = True
        if self._loop is not None and self._event is not None:
            self._loop.run_soon(self._event.set)

    def attach(self) -> trio.Event:
        """Return the event of the loop that calls this."""
        self._event = trio.Event()
        self._loop = LoopThread()
        if self._requested:
            self._event.set()
        return self._event
