"""The states of the places that carriers deliver to: those that fail, and those that rest. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from understudy_broker.core.events import EventLog

#: places whose failures are remembered, so that each is logged once; and places that may rest
PLACES_NOTED_MAX: Final = 1_024
#: the bounds of a rest that a receiver wants
REST_MS_MIN: Final = 1_000
REST_MS_MAX: Final = 60_000
#: characters of an error that are logged
_ERROR_CHARS_MAX: Final = 500


class PlaceStates:
    """The states of places.

    A place *fails* from a failure on until a delivery arrives there. It *rests* while its receiver
    wants to be left alone.
    """

    def __init__(self, events: EventLog) -> None:
        self._events = events
        #: since when places fail
        self._failing: OrderedDict[str, int] = OrderedDict()
        #: until when places rest
        self._resting: dict[str, int] = {}

    def arrived(self, place: str) -> None:
        """Note that a delivery has arrived."""
        if place in self._failing:
            del self._failing[place]
            self._events.add("info", "deliveries arrive again", place=place)

    def failed(self, place: str, now: int, *, address: str, id: str, error: str) -> None:
        """Note that a delivery has failed; the first failure in a row is logged."""
        if place in self._failing:
            return
        self._failing[place] = now
        if len(self._failing) > PLACES_NOTED_MAX:
            self._failing.popitem(last=False)
        text = "a delivery has failed; it is tried again, and others to this place too"
        error = error[:_ERROR_CHARS_MAX]
        self._events.add("warning", text, place=place, address=address, id=id, error=error)

    def failing_ms(self, place: str, now: int) -> int:
        """Return for how long nothing but failures has come from a place."""
        return now - self._failing.get(place, now)

    def rest(self, place: str, rest_ms: int, now: int) -> None:
        """Let a place rest, for as long as its receiver wants, within bounds."""
        if place in self._resting or len(self._resting) < PLACES_NOTED_MAX:
            until = now + max(REST_MS_MIN, min(rest_ms, REST_MS_MAX))
            self._resting[place] = max(until, self._resting.get(place, 0))

    def rests(self, place: str) -> bool:
        """Return whether a place rests."""
        return place in self._resting

    def end_rests(self, now: int) -> bool:
        """End the rests that are over; return whether there were any."""
        over = [place for place, until in self._resting.items() if until <= now]
        for place in over:
            del self._resting[place]
        return bool(over)

    @property
    def rest_ends_at(self) -> int | None:
        """When the first rest ends; None: no place rests."""
        return min(self._resting.values(), default=None)
