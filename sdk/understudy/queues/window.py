"""The messages under way: how many may be, and which of them may be acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

from understudy.queues.port import Message

#: counted for a message besides its body, so that many empty ones are bounded by bytes as well
_OVERHEAD_BYTES = 512
#: messages that count as lately
_LATELY = 8


class Entry:
    """A message under way.

    Attributes
    ----------
    filed
        Whether it is stored.
    forgotten
        Whether the queue delivers it again, because the source was closed: it is not acknowledged.
    """

    __slots__ = ("bytes", "filed", "forgotten", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.bytes = len(message.body) + _OVERHEAD_BYTES
        self.filed = False
        self.forgotten = False


class Window:
    """Bounds the messages under way, and keeps their order in each partition.

    A message is under way until it is acknowledged; one that the source has forgotten, until it is
    filed, because its command still waits for the broker.

    Parameters
    ----------
    count_max, bytes_max
        The most messages, and about the most bytes of them: how large those are that come next is
        known only when they are there.
    """

    def __init__(self, count_max: int, bytes_max: int) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._partitions: dict[Hashable, deque[Entry]] = {}
        #: partitions whose oldest message was filed since they were looked at
        self._ready: dict[Hashable, None] = {}
        self.count = 0
        self.bytes = 0
        #: bytes of a message as they came lately, from which the room is estimated
        self._usual_bytes = float(_OVERHEAD_BYTES)
        #: messages that are not filed yet
        self.unfiled = 0

    @property
    def room(self) -> int:
        """The number of messages that may be added."""
        if self.bytes >= self._bytes_max:
            return 0
        by_bytes = max(1, int((self._bytes_max - self.bytes) / self._usual_bytes))
        return min(by_bytes, max(0, self._count_max - self.count))

    def add(self, message: Message) -> Entry:
        """Take a message in, after the others of its partition."""
        entry = Entry(message)
        self._partitions.setdefault(message.partition, deque()).append(entry)
        self.count += 1
        self.unfiled += 1
        self.bytes += entry.bytes
        self._usual_bytes += (entry.bytes - self._usual_bytes) / _LATELY
        return entry

    def file(self, entry: Entry) -> None:
        """Note that a message is stored."""
        assert not entry.filed
        entry.filed = True
        self.unfiled -= 1
        if entry.forgotten:
            self._leave(entry)
        else:
            self._ready[entry.message.partition] = None

    def take_filed(self) -> list[Message]:
        """Remove and return the messages that may be acknowledged, each partition's in order."""
        taken: list[Message] = []
        for partition in self._ready:
            queue = self._partitions[partition]
            while queue and queue[0].filed:
                entry = queue.popleft()
                self._leave(entry)
                taken.append(entry.message)
            if not queue:
                del self._partitions[partition]
        self._ready.clear()
        return taken

    def forget(self) -> None:
        """Forget the order: the queue will deliver again what is not acknowledged."""
        for queue in self._partitions.values():
            for entry in queue:
                entry.forgotten = True
                if entry.filed:
                    self._leave(entry)
        self._partitions.clear()
        self._ready.clear()

    def _leave(self, entry: Entry) -> None:
        self.count -= 1
        self.bytes -= entry.bytes
