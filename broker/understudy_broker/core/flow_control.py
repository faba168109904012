"""Large answers: what each peer is owed of them and has not taken, and what waits until it has.

A request of a few bytes may be answered with megabytes. A peer that asks for much at once must not
make the broker hold all of it, and is not to be dropped as too slow for what it asked for: past a
bound, the rest of its requests is put off until the shell has sent on what is there. Pure, as the
core that uses it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from understudy_broker.core.sessions import Session
from understudy_broker.protocol.messages import Bye, Request
from understudy_store.commands import Reply
from understudy_store.records import PromiseRecord

#: what waits to be applied
Asked: TypeAlias = tuple[Session, Request | Bye]

#: answers below this are not counted: the bound on unanswered requests bounds them
LIGHT_BYTES_MAX: Final = 4_096


class Deferred:
    """What a peer asked for and does not get yet, and the bytes of the frames that it came in."""

    __slots__ = ("queue", "size")

    def __init__(self) -> None:
        self.queue: list[Asked] = []
        self.size = 0


class ReplyBudget:
    """Bytes of large answers by peer.

    Parameters
    ----------
    bytes_max
        That one peer is owed, or was sent since its queue in the shell was last empty.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        #: peers past the bound
        self.over: dict[bytes, Deferred] = {}
        #: in batches that are not committed yet
        self._owed: dict[bytes, int] = {}
        #: handed to the shell since the peer's queue there was last empty
        self._sent: dict[bytes, int] = {}

    @property
    def sent(self) -> list[bytes]:
        """Peers whose queue the shell is to look at."""
        return list(self._sent)

    def owe(self, peer: bytes, size: int) -> None:
        """An answer of this size waits for its commit."""
        owed = self._owed[peer] = self._owed.get(peer, 0) + size
        if owed + self._sent.get(peer, 0) >= self.bytes_max and peer not in self.over:
            self.over[peer] = Deferred()

    def committed(self, sizes: dict[bytes, int]) -> None:
        """What a batch owed is handed to the shell."""
        for peer, size in sizes.items():
            owed = self._owed.pop(peer) - size
            if owed:
                self._owed[peer] = owed
            self._sent[peer] = self._sent.get(peer, 0) + size

    def drained(self, peer: bytes) -> Deferred | None:
        """The shell holds nothing for this peer any more; what may be applied by now."""
        self._sent.pop(peer, None)
        if self._owed.get(peer, 0) >= self.bytes_max:
            return None
        return self.over.pop(peer, None)

    def sift(self, queue: list[Asked]) -> list[Asked]:
        """Put off what peers past the bound ask for; returns the rest."""
        rest: list[Asked] = []
        for asked in queue:
            put_off = self.over.get(asked[0].peer)
            if put_off is None:
                rest.append(asked)
            else:
                put_off.queue.append(asked)
        return rest

    def set_aside(self, taken_bytes: dict[bytes, int]) -> None:
        """What was put off still takes up its bytes when the rest of its frames is done with."""
        for peer, put_off in self.over.items():
            if put_off.queue:
                put_off.size += taken_bytes.pop(peer, 0)


def weight(records: Iterable[PromiseRecord]) -> int:
    """Bytes of payload."""
    return sum(len(each.param.data or b"") + len(each.value.data or b"") for each in records)


def weight_of(reply: Reply) -> int:
    """Bytes of payload in an answer."""
    size = 0
    promise = reply.promise
    if promise is not None:
        size = len(promise.param.data or b"") + len(promise.value.data or b"")
    if reply.promises:
        size += weight(reply.promises)
    if reply.replies:
        for inner in reply.replies:
            if inner is not None:
                size += weight_of(inner)
    return size
