"""The events of a call graph, as it is read again and again: which promises belong, what is new.

A graph is read in rounds, page by page, and an event tells the state of one promise as it is now.
A position is the time by the brokers' clock at which the last whole round began. So a client that
comes back with one, to whichever edge, is told what has changed since, and a little more, because a
change may be seen a bit later than it is made.

This module is pure: it gets records and returns messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from understudy.edge.grpc.answers import STATES, call_of
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.native.events import changed_at, is_known
from understudy.edge.native.problems import Problem
from understudy_store.records import TAG_BRANCH, TAG_PARENT, PromiseRecord, origin_of

#: digits of the longest position
_DIGITS_MAX: Final = 15


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
    root
        The promise that is watched; the graph is everything below it.
    position
        Of the last event that the client has got; None: it knows nothing.

    Attributes
    ----------
    size
        Promises of the graph that were seen.
    """

    def __init__(self, root: PromiseRecord, position: int | None) -> None:
        self._root = root
        self._known = position
        self._position = position
        self._round = 0
        #: A root has a graph of its own; below any other promise there is only a part of one.
        self._is_whole = origin_of(root) == root.id
        #: id to state, of everything that belongs
        self._states: dict[str, str] = {}
        #: id to the ids that it may be below, of promises about which that is not known yet
        self._open: dict[str, list[str]] = {}

    @property
    def size(self) -> int:
        return len(self._states)

    def begin(self, now_ms: int) -> None:
        """Begin a round."""
        self._round = now_ms
        self._open.clear()

    def take(self, records: Iterable[PromiseRecord]) -> list[v1.WatchEvent]:
        """Take some promises of the round; return the events of those that have changed."""
        events = []
        for record in records:
            if not self._belongs(record):
                self._open[record.id] = list(_above(record))
            elif self._is_news(record):
                change = v1.WatchEvent.Change(call=call_of(record), parent=self._parent(record))
                events.append(v1.WatchEvent(position=self._text(), change=change))
        return events

    def found(self) -> list[str]:
        """Return the ids of promises that did not seem to belong to the graph, and do.

        In the order of ids, which is that of a round, a promise may come before its caller, if
        somebody has chosen its id.
        """
        found: dict[str, None] = {}
        is_growing = True
        while is_growing:
            below = {
                id_
                for id_, above in self._open.items()
                if id_ not in found and any(a in self._states or a in found for a in above)
            }
            found |= dict.fromkeys(sorted(below))
            is_growing = bool(below)
        return list(found)

    def take_found(self, record: PromiseRecord) -> list[v1.WatchEvent]:
        """Take a promise that does belong to the graph."""
        self._states.setdefault(record.id, "")
        return self.take((record,))

    def end_round(self) -> v1.WatchEvent:
        """End a round; return the event that says that everything was told."""
        self._position = self._round
        return v1.WatchEvent(position=self._text(), caught_up=v1.WatchEvent.CaughtUp())

    def end(self, root: PromiseRecord) -> v1.WatchEvent:
        """Return the event that says that nothing more will come."""
        self._position = self._round
        end = v1.WatchEvent.End(state=STATES[root.state])
        return v1.WatchEvent(position=self._text(), end=end)

    def _belongs(self, record: PromiseRecord) -> bool:
        return (
            self._is_whole
            or record.id == self._root.id
            or record.id in self._states
            or any(id_ in self._states for id_ in _above(record))
        )

    def _is_news(self, record: PromiseRecord) -> bool:
        before = self._states.get(record.id)
        self._states[record.id] = record.state
        if before:
            return before != record.state
        return not is_known(changed_at(record), self._known)

    def _parent(self, record: PromiseRecord) -> str:
        if record.id == self._root.id:
            return ""
        return next((id_ for id_ in _above(record) if id_ in self._states), self._root.id)

    def _text(self) -> str:
        return "" if self._position is None else str(self._position)


def _above(record: PromiseRecord) -> Iterator[str]:
    """Yield the ids of promises that may be the caller's, the most likely first."""
    for tag in (TAG_PARENT, TAG_BRANCH):
        id_ = record.tags.get(tag)
        if id_ is not None and id_ != record.id:
            yield id_
    above = record.id
    while "." in above:
        above = above.rpartition(".")[0]
        yield above
