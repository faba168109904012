"""Lanes: the waiting requests by identity, from which steps draw in turn. Pure.

An identity that floods the broker makes its own lane long, and the others' no slower than their
share: a step takes a few requests of each lane after the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from understudy_broker.core.flow_control import SessionRequest
from understudy_broker.protocol.messages import Bye, Delegated

#: requests of one lane before the next one's turn
TURN: Final = 16


class Lanes:
    """Requests that wait, in order within each identity."""

    def __init__(self) -> None:
        #: the lane whose turn is next stands first; no lane is empty
        self._lanes: dict[str | None, deque[SessionRequest]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, requests: Iterable[SessionRequest]) -> None:
        """Add requests at the ends of their lanes."""
        lanes = self._lanes
        for each in requests:
            lanes.setdefault(identity_of(each), deque()).append(each)
            self._count += 1

    def put_back(
        self, requests: list[SessionRequest], performed: Iterable[SessionRequest] = ()
    ) -> None:
        """Put requests before all others of their lanes, in their order.

        Lanes of which something was performed go behind all others. Otherwise one whose requests
        fill a step early would always have the first turn, and those behind it none.
        """
        lanes = self._lanes
        for each in reversed(requests):
            lanes.setdefault(identity_of(each), deque()).appendleft(each)
        self._count += len(requests)
        drawn = dict.fromkeys(map(identity_of, requests))
        served = set(map(identity_of, performed))
        names = dict.fromkeys((*drawn, *lanes))
        order = sorted(names, key=served.__contains__)  # It keeps the order of equals.
        self._lanes = {name: lanes[name] for name in order}

    def draw(self, count_max: int) -> list[SessionRequest]:
        """Take requests of all lanes in turn, at most `count_max`."""
        drawn: list[SessionRequest] = []
        while self._lanes and len(drawn) < count_max:
            name = next(iter(self._lanes))
            lane = self._lanes.pop(name)
            take = min(TURN, count_max - len(drawn), len(lane))
            drawn.extend(lane.popleft() for _ in range(take))
            if lane:
                self._lanes[name] = lane
        self._count -= len(drawn)
        return drawn


def identity_of(each: SessionRequest) -> str | None:
    """Return the identity for which a request is asked."""
    session, request = each
    if not isinstance(request, Bye) and isinstance(request.command, Delegated):
        return request.command.identity
    return session.identity
