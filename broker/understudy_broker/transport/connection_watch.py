"""Cuts connections that hold memory or a descriptor and are of no use: the shell of `guard`.

Messages without an end show by the memory of the process alone, so the connections are looked at
when that has grown. Only Linux tells what a connection has received; elsewhere, and over ipc, only
silent connections are cut.

What is not perfect: a descriptor may be closed, and be another connection's, in the moment in which
it is judged. That connection is cut then, and its peer connects again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import trio

from understudy_broker.transport.guard import ConnectionGuard
from understudy_broker.transport.monitor import bytes_received, shut_down
from understudy_store.limits import MIB

#: how often it looks at the memory, and how soon after that it judges, if it has grown
LOOK_S: Final = 0.1
_JUDGE_S: Final = 0.01
#: looks at the memory between two at the silent connections
_LOOKS: Final = 50
#: growth of the memory that has the connections looked at
GROWTH_BYTES: Final = 8 * MIB
#: how often the log may say that connections were cut for one reason
REPEAT_S: Final = 60.0
#: what ZeroMQ puts before a large message, and what it sends before the first one
HEAD_BYTES: Final = 9

_SILENT: Final = "have said no hello"
_ENDLESS: Final = "have sent a message that is too large, or does not end"


class ConnectionWatch:
    """The bytes that came over each connection, and the task that cuts connections.

    Parameters
    ----------
    peers
        Who has spoken over the connections, by descriptor. It is read only.
    peer_bytes_max
        Bytes of a peer's that have come and are not delivered.
    seal_bytes
        Bytes that encryption adds to each message; 0: there is none.

    Attributes
    ----------
    open
        When each connection was opened, in trio's time, by descriptor. To be read only.
    """

    def __init__(
        self, peers: Mapping[int, Sequence[bytes]], peer_bytes_max: int, seal_bytes: int = 0
    ) -> None:
        self._peers = peers
        self._more_bytes = HEAD_BYTES + seal_bytes
        self._guard = ConnectionGuard(peer_bytes_max)
        self.open: dict[int, float] = {}
        #: bytes that peers have brought
        self._brought: Counter[bytes] = Counter()
        #: how often everything was read that had come
        self._reads = 0
        self._refused: int | None = None

    def opened(self, descriptor: int) -> None:
        """Note a new connection."""
        self.open[descriptor] = trio.current_time()
        self._guard.forget(descriptor)

    def closed(self, descriptor: int) -> None:
        """Forget a connection."""
        self.open.pop(descriptor, None)
        self._guard.forget(descriptor)

    def refused(self, error: int) -> None:
        """Note that a connection could not be accepted."""
        self._refused = error

    def brought(self, peer: bytes, size: int) -> None:
        """Note the size of a message from a peer."""
        self._brought[peer] += size + self._more_bytes

    def lost(self, peer: bytes) -> None:
        """Forget a peer."""
        self._brought.pop(peer, None)

    def read_all(self) -> None:
        """Note that everything was read that had come by now."""
        self._reads += 1

    async def run(
        self,
        wake: Callable[[], None],
        is_known: Callable[[bytes], bool],
        tell: Callable[[str], None],
    ) -> None:
        """Look at the connections for ever.

        Parameters
        ----------
        wake
            Has everything read that has come.
        is_known
            Returns whether a peer has said hello.
        tell
            Writes a warning to the log.
        """

        def knows(descriptor: int) -> bool:
            return any(map(is_known, self._peers.get(descriptor, ())))

        told = {text: _Told(partial(self._text_of, text), tell) for text in (_SILENT, _ENDLESS)}
        lowest, looks = _memory_bytes(), 0
        reads = looked = self._reads
        while True:
            await trio.sleep(_JUDGE_S if self._guard.is_comparing else LOOK_S)
            now = trio.current_time()
            if not self.open:
                continue
            if self._guard.is_comparing and self._reads > reads:
                told[_ENDLESS].add(_cut(self._guard.endless(self._delivered, knows)), now)
            memory = _memory_bytes()
            lowest = min(lowest, memory)
            if memory - lowest > GROWTH_BYTES and not self._guard.is_comparing:
                lowest, reads = memory, self._reads
                self._guard.received(self._received(now))
                wake()
            looks += 1
            if looks >= _LOOKS:
                # A hello that waits because nothing is read at the moment is not silence.
                if self._reads > looked:
                    told[_SILENT].add(_cut(self._guard.silent(self.open, knows)), now)
                looks, looked = 0, self._reads
                wake()
            if self._refused is not None:
                error, self._refused = os.strerror(self._refused), None
                told.setdefault(error, _Told(_refusal, tell)).add([error], now)

    def _received(self, now: float) -> dict[int, tuple[int, float]]:
        counts = ((each, opened, bytes_received(each)) for each, opened in self.open.items())
        return {each: (count, now - opened) for each, opened, count in counts if count is not None}

    def _delivered(self, descriptor: int) -> int:
        return sum(self._brought[peer] for peer in self._peers.get(descriptor, ()))

    @staticmethod
    def _text_of(why: str, counts: Counter[str]) -> str:
        addresses = ", ".join(f"{count} from {where}" for where, count in counts.most_common(3))
        return f"{sum(counts.values())} connections were cut, because they {why}: {addresses}"


class _Told:
    """Tells of something at once, and again at most once in `REPEAT_S`."""

    def __init__(self, text_of: Callable[[Counter[str]], str], tell: Callable[[str], None]) -> None:
        self._text_of = text_of
        self._tell = tell
        self._counts: Counter[str] = Counter()
        self._at: float | None = None

    def add(self, found: Sequence[str], now: float) -> None:
        self._counts.update(found)
        if self._counts and (self._at is None or now - self._at >= REPEAT_S):
            self._tell(self._text_of(self._counts))
            self._counts.clear()
            self._at = now


def _refusal(counts: Counter[str]) -> str:
    [(error, _)] = counts.most_common(1)
    return (
        f"a connection could not be accepted: {error}. If the limit of open files is reached, "
        "raise it (ulimit -n, LimitNOFILE)"
    )


def _cut(descriptors: Sequence[int]) -> list[str]:
    """Cut connections; return where those that were still open came from."""
    addresses = map(shut_down, descriptors)
    return [address for address in addresses if address is not None]


def _memory_bytes() -> int:
    """Return the memory that the process uses; 0 if the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0
