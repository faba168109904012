"""Streams: listeners of groups, and the messages that wait for each. Pure.

A listener is an event stream under a name in a group. Several streams may have one name; the first
gets the messages, and when it ends, the next one gets what it has left. While a name has a stream,
the brokers know it as a member of its group.

A message for which there is no room is dropped: an offer is repeated by its broker later, and so is
an unblock that nobody has acknowledged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

from understudy_store.addresses import Target, parse_target
from understudy_store.records import PromiseRecord

#: messages that may wait for one stream; each offer is small, and clients take them in at once
MESSAGES_MAX: Final = 10_000

#: acknowledges a message, once the stream has taken it
Acknowledge: TypeAlias = Callable[[], object]
Key: TypeAlias = tuple[str, str]


class Message:
    """A message to a listener: the offer of a task, or the settlement of a promise."""

    __slots__ = ("acknowledge", "key", "promise", "version")

    def __init__(
        self, id_: str, version: int, promise: PromiseRecord | None, acknowledge: Acknowledge | None
    ) -> None:
        self.key = (id_, "execute" if promise is None else "unblock")
        self.version = version
        self.promise = promise
        self.acknowledge = acknowledge

    @property
    def id(self) -> str:
        """The id of the task or promise."""
        return self.key[0]


class Listener:
    """One stream.

    Parameters
    ----------
    wake
        Called when there is something to take.
    identity
        Whose stream it is; None: tokens are not asked for.
    """

    def __init__(
        self, group: str, name: str, wake: Callable[[], object], identity: str | None = None
    ) -> None:
        self.group = group
        self.name = name
        self.identity = identity
        self._wake = wake
        self._waiting: deque[Message] = deque()
        self._keys: dict[Key, Message] = {}

    def put(self, message: Message) -> bool:
        """Let a message wait for this stream; return False if there is no room.

        What waits already is not doubled.
        """
        waiting = self._keys.get(message.key)
        if waiting is not None:
            waiting.version = max(waiting.version, message.version)
            return True
        if len(self._waiting) >= MESSAGES_MAX:
            return False
        self._waiting.append(message)
        self._keys[message.key] = message
        self._wake()
        return True

    def take(self) -> list[Message]:
        """Return the messages that wait, which then no longer do."""
        taken = list(self._waiting)
        self._waiting.clear()
        self._keys.clear()
        return taken


class Streams:
    """All listeners of an edge.

    Parameters
    ----------
    attach, detach
        Called with group and name when the first stream of a name begins, and when the last ends;
        at the beginning with its identity, too.
    """

    def __init__(
        self,
        attach: Callable[[str, str, str | None], object],
        detach: Callable[[str, str], object],
    ) -> None:
        self._attach = attach
        self._detach = detach
        self._groups: dict[str, dict[str, list[Listener]]] = {}
        self.count = 0

    def members(self) -> list[tuple[str, str, str | None]]:
        """Return group, name and identity of all listeners, each name once."""
        return [
            (group, name, streams[0].identity)
            for group, names in self._groups.items()
            for name, streams in names.items()
        ]

    def is_taken(self, listener: Listener) -> bool:
        """Return whether the name of a stream is that of another identity's stream."""
        streams = self._groups.get(listener.group, {}).get(listener.name)
        return streams is not None and streams[0].identity != listener.identity

    def address_of(self, name: str) -> str | None:
        """Return the address of a listener, whatever its group; None if there is none."""
        for group, names in self._groups.items():
            if name in names:
                return f"poll://any@{group}/{name}"
        return None

    def open(self, listener: Listener) -> None:
        """Enter a stream."""
        self.count += 1
        streams = self._groups.setdefault(listener.group, {}).setdefault(listener.name, [])
        streams.append(listener)
        if len(streams) == 1:
            self._attach(listener.group, listener.name, listener.identity)

    def close(self, listener: Listener) -> None:
        """Remove a stream that has ended; the next one of its name gets what it has left."""
        self.count -= 1
        names = self._groups[listener.group]
        streams = names[listener.name]
        streams.remove(listener)
        if streams:
            for message in listener.take():
                streams[0].put(message)
            return
        del names[listener.name]
        if not names:
            del self._groups[listener.group]
        self._detach(listener.group, listener.name)

    def execute(self, group: str, name: str, id_: str, version: int) -> bool:
        """Offer a task to a listener; return whether there is one, with room."""
        streams = self._groups.get(group, {}).get(name)
        return streams is not None and streams[0].put(Message(id_, version, None, None))

    def offer(self, target: Target, id_: str, version: int) -> bool:
        """Offer a task to any listener that an address means; return whether there is one."""
        streams = self._meant(target)
        return streams is not None and streams[0].put(Message(id_, version, None, None))

    def unblock(self, address: str, promise: PromiseRecord, acknowledge: Acknowledge) -> bool:
        """Send a settlement to a listener that an address means; return whether there is one."""
        streams = self._meant(parse_target(address))
        if streams is None:
            return False
        return streams[0].put(Message(promise.id, 0, promise, acknowledge))

    def _meant(self, target: Target) -> list[Listener] | None:
        """Return the streams of the name that an address means; None if there is none."""
        names = self._groups.get(target.group)
        if not names:
            return None
        streams = None if target.node is None else names.get(target.node)
        if streams is None and target.cast == "any":
            # The next one has its turn the next time.
            name, streams = next(iter(names.items()))
            del names[name]
            names[name] = streams
        return streams
