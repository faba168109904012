"""The port to a queue: messages with positions come out, acknowledgments go in."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from understudy.errors import UnderstudyError


class SourceAwayError(UnderstudyError):
    """The queue cannot be reached, or has ended the connection. It may be back later."""


class Message(NamedTuple):
    """A message, and its place in the queue.

    Attributes
    ----------
    partition
        Messages of one partition are acknowledged in the order in which they were polled. It also
        names the connection or the assignment, if acknowledgments are void after it.
    token
        The queue's own means of acknowledging the message.
    fields
        The parts of the position, for ids; None: the message lacks that one.
    body
        The content.
    headers
        The headers that are text.
    """

    partition: Hashable
    token: Any
    fields: Mapping[str, str | None]
    body: bytes
    headers: Mapping[str, str] = {}


class QueueKind(NamedTuple):
    """The facts about a kind of queue that the core needs.

    Attributes
    ----------
    name
        The name on the command line.
    fields
        The fields of its messages, each with a line of help.
    identities
        Sets of fields, each of which tells the messages of one queue apart.
    default_id
        The template of ids if the user gives none.
    extra
        The extra of the distribution that installs its library.
    """

    name: str
    fields: Mapping[str, str]
    identities: Sequence[frozenset[str]]
    default_id: str
    extra: str


class Source(Protocol):
    """A queue as the feed uses it. All methods are called on one thread.

    `open`, `poll`, `acknowledge` and `lag` raise `SourceAwayError` if the queue cannot be reached.
    The feed then closes the source, forgets which messages it has had, and opens it again later.
    """

    @property
    def kind(self) -> QueueKind:
        """The facts about this kind of queue."""
        ...

    @property
    def place(self) -> str:
        """The queue's name and address for people, without a password."""
        ...

    def open(self) -> None:
        """Connect."""
        ...

    def poll(self, limit: int, timeout_s: float) -> Sequence[Message]:
        """Return at most `limit` messages, as soon as there is one; none after `timeout_s`.

        With a limit of 0 it only keeps the connection alive, and the messages that were polled and
        not acknowledged its own. It returns after at most `timeout_s` then, too.
        """
        ...

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge messages, which are the oldest ones of their partitions.

        Those of a partition that this source has lost meanwhile are ignored.
        """
        ...

    def lag(self) -> int | None:
        """Return how many messages wait in the queue; None if that is unknown."""
        ...

    def close(self) -> None:
        """Send what was acknowledged, and disconnect; raises nothing."""
        ...
