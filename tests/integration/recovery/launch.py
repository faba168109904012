"""Starts brokers and nodes whose failures a test controls more exactly than by signals.

Only this file knows the variables below; the programs that it starts are the real ones.

``RECOVERY_STOP="POINT ID STATE"`` kills the broker with SIGKILL at one point of the first batch
in which the promise ID gets the state ``pending`` or ``settled``. Points: ``before-commit``;
``after-commit``, in the thread that wrote; ``before-send``, when the frames are made;
``after-send``, when they have gone and the loop comes round again.

``RECOVERY_CLOCK=FILE`` shifts the wall clock by the seconds in FILE, which may change at any time.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from understudy.cli import main

STOP_ENV: Final = "RECOVERY_STOP"
CLOCK_ENV: Final = "RECOVERY_CLOCK"


def start(argv: list[str]) -> int:
    """Run ``understudy ...`` with the failures that the environment asks for."""
    _shift_clock(os.environ.pop(CLOCK_ENV, None))
    stop = os.environ.pop(STOP_ENV, None)
    if stop is not None:
        _stop_at(*stop.split())
    return main(argv)


def execute(argv: list[str]) -> NoReturn:
    """Become another program, because some variables are read by the loader of programs only."""
    os.execv(argv[0], argv)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop_at(point: str, id: str, state: str) -> None:
    from understudy_broker.core.core import BrokerCore
    from understudy_store.changes import Changes
    from understudy_store.engines.sqlite.engine import SqliteEngine

    def is_meant(changes: Changes) -> bool:
        rows = (*changes.inserted, *changes.updated)
        return any(
            row.promise.id == id and (row.promise.state == "pending") == (state == "pending")
            for row in rows
        )

    commit, committed, mark_polled = (
        SqliteEngine.commit,
        BrokerCore.committed,
        BrokerCore.mark_polled,
    )
    sent = False

    def stopping_commit(
        self: SqliteEngine, changes: Changes, reads: Sequence[Any], epoch: int
    ) -> Any:
        if point == "before-commit" and is_meant(changes):
            _die()
        replies = commit(self, changes, reads, epoch)
        if point == "after-commit" and is_meant(changes):
            _die()
        return replies

    def stopping_committed(self: BrokerCore, batch: Any, replies: Any) -> Any:
        nonlocal sent
        frames = committed(self, batch, replies)
        if is_meant(batch.changes):
            if point == "before-send":
                _die()
            sent = point == "after-send"
        return frames

    def stopping_mark_polled(self: BrokerCore, now: int) -> None:
        if sent:
            _die()
        mark_polled(self, now)

    SqliteEngine.commit = stopping_commit  # type: ignore[method-assign]
    BrokerCore.committed = stopping_committed  # type: ignore[method-assign]
    BrokerCore.mark_polled = stopping_mark_polled  # type: ignore[method-assign]


def _shift_clock(file: str | None) -> None:
    if file is None:
        return
    from understudy_broker.clock import Clock, PeerClock

    path, real_time, real_time_ns = Path(file), time.time, time.time_ns

    def shift_s() -> float:
        return float(path.read_text())

    def time_ns() -> int:
        return real_time_ns() + int(shift_s() * 1_000_000_000)

    time.time = lambda: real_time() + shift_s()
    time.time_ns = time_ns
    for defaults in (Clock.__init__.__kwdefaults__, PeerClock.__init__.__kwdefaults__):
        assert defaults is not None
        assert defaults["wall_ns"] is real_time_ns
        defaults["wall_ns"] = time_ns


if __name__ == "__main__":
    sys.exit(start(sys.argv[1:]))
