"""The events of a call graph that is watched: messages, and what a position in them means.

A position is the time, by the brokers' clock, of the latest change that was told. So a client that
comes back with one, to whichever edge, is told what has changed since. A new promise may be told
some time after it is made (`understudy.edge.native.feeds`), so it is told again what is not much
older than the position.

This module is pure.
"""

from __future__ import annotations

from typing import Any, Final

from understudy.edge.grpc.answers import STATES, call_of, error_of
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.native.events import changed_at
from understudy.edge.native.feeds import PAUSE_MAX_S, State
from understudy.edge.native.problems import Problem
from understudy_store.records import PROMISE_WORDS, PromiseRecord

#: What changed in that time before a position is told again: as long as a feed may pause, and more.
OVERLAP_MS: Final = 2 * int(PAUSE_MAX_S * 1000)
#: digits of the longest position
_DIGITS_MAX: Final = 15
#: states by the words that are shown
_SHOWN: Final = {word: STATES[state] for state, word in PROMISE_WORDS.items()}


def parse_position(text: str) -> int | None:
    """Return the time that a position is; None if it is empty.

    Raises
    ------
    Problem
        It is no position.
    """
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX):
        raise Problem(
            400,
            f"position={text[:40]!r}: it must be the position of an event, or empty",
            parameter="position",
        )
    return int(text)


class GraphEvents:
    """The events of one stream.

    Parameters
    ----------
    position
        Of the last event that the client has got; None: it knows nothing.
    """

    def __init__(self, position: int | None) -> None:
        self._known = position
        self._position = position

    def is_known(self, changed_at_ms: int) -> bool:
        """Return whether the client knew of a change when it came."""
        return self._known is not None and changed_at_ms <= self._known - OVERLAP_MS

    def changes(self, states: list[State]) -> list[v1.WatchEvent]:
        """Return the events of promises that have changed, but not what the client knows."""
        events = []
        for data, changed_at_ms in states:
            if not self.is_known(changed_at_ms):
                self._position = max(self._position or 0, changed_at_ms)
                events.append(self._event(change=_change(data)))
        return events

    def caught_up(self) -> v1.WatchEvent:
        """Return the event that says that everything was told."""
        return self._event(caught_up=v1.WatchEvent.CaughtUp())

    def end(self, root: PromiseRecord) -> v1.WatchEvent:
        """Return the event that says that nothing more will come.

        A client that comes back with its position has got everything.
        """
        self._position = max(self._position or 0, changed_at(root) + OVERLAP_MS)
        return self._event(end=v1.WatchEvent.End(call=call_of(root)))

    def _event(
        self,
        change: v1.WatchEvent.Change | None = None,
        caught_up: v1.WatchEvent.CaughtUp | None = None,
        end: v1.WatchEvent.End | None = None,
    ) -> v1.WatchEvent:
        position = "" if self._position is None else str(self._position)
        return v1.WatchEvent(position=position, change=change, caught_up=caught_up, end=end)


def _change(data: dict[str, Any]) -> v1.WatchEvent.Change:
    return v1.WatchEvent.Change(
        id=data["id"],
        parent=data["parent"] or "",
        role=data["role"],
        function=data["function"],
        state=_SHOWN[data["state"]],
        created_at=data["created_at"],
        settled_at=data["settled_at"],
        error=error_of(data["error"]) if "error" in data else None,
    )
