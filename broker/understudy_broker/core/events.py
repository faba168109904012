"""Events: what a person may want to read in the log, as data. The shell writes them."""

from __future__ import annotations

import msgspec


class Event(msgspec.Struct, frozen=True):
    """One line for the log.

    Attributes
    ----------
    level
        As in `logging`, in lower case.
    text
        Always the same for the same kind of event; the details are in `fields`.
    """

    level: str
    text: str
    fields: dict[str, object]


class EventLog:
    """Events of a step, in order, until the shell takes them.

    Attributes
    ----------
    events
        To be read only.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, level: str, text: str, **fields: object) -> None:
        """Note an event."""
        self.events.append(Event(level, text, fields))

    def take(self) -> list[Event]:
        """Return the events since the last call."""
        events, self.events = self.events, []
        return events
