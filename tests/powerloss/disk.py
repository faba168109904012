"""A simulated disk that guarantees only what was synced.

After a loss of power each sector (512 bytes) that was written since the last sync of its file may
hold the old bytes or the new ones, whatever the order of the writes; a file that grew may have its
old size or the new one; a directory entry that was added or removed since the directory was synced
may or may not be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Literal, TypeAlias

from tests.powerloss.events import (
    Create,
    Delete,
    Event,
    Lost,
    Sync,
    SyncDirectory,
    SyncWrite,
    Truncate,
    Write,
)

SECTOR_BYTES = 512

#: How much unsynced data survives: none of it; all of it; the first writes, and the next one up to
#: some sector; some whole writes; some sectors of some writes.
Manner: TypeAlias = Literal["none", "all", "prefix", "writes", "torn"]
#: The manners to draw from; those listed twice are drawn twice as often.
MANNERS: tuple[Manner, ...] = ("none", "all", "prefix", "prefix", "writes", "torn", "torn")


class _File:
    """The content of one file; its name is an entry of the directory."""

    def __init__(self, synced: bytes = b"") -> None:
        self.synced = bytearray(synced)
        self.pending: list[Write | Truncate] = []
        #: Positions in `pending` that are durable although earlier ones may not be.
        self.sure: set[int] = set()

    def sync(self) -> None:
        for event in self.pending:
            _put(self.synced, event)
        self.pending = []
        self.sure = set()

    def sync_last(self) -> None:
        self.sure.add(len(self.pending) - 1)
        if len(self.sure) == len(self.pending):
            self.sync()


class Disk:
    """The files that may be found after the events that were applied."""

    def __init__(self, files: Mapping[str, bytes] = {}) -> None:
        self._find(files)

    def _find(self, files: Mapping[str, bytes]) -> None:
        self._visible = {name: _File(data) for name, data in files.items()}
        self._durable = dict(self._visible)

    def apply(self, event: Event) -> None:
        """Apply one more event."""
        match event:
            case Write(name) | Truncate(name):
                self._visible[name].pending.append(event)
            case Sync(name):
                self._visible[name].sync()
            case SyncWrite(name):
                self._visible[name].sync_last()
            case Create(name):
                self._visible[name] = _File()
            case Delete(name):
                del self._visible[name]
            case SyncDirectory():
                self._durable = dict(self._visible)
            case Lost(files):
                self._find(files)
            case _:
                pass

    def visible(self) -> dict[str, bytes]:
        """Return the files as a process sees them if the power is not lost."""
        return {name: _content(file, file.pending) for name, file in self._visible.items()}

    def image(self, manner: Manner, random: Random) -> dict[str, bytes]:
        """Return the files that are found after a loss of power now."""
        found: dict[str, bytes] = {}
        for name in sorted(self._visible.keys() | self._durable.keys()):
            was, now = self._durable.get(name), self._visible.get(name)
            kept = was if manner == "none" or (manner != "all" and random.random() < 0.5) else now
            if kept is not None:
                found[name] = _content(kept, _survivors(kept, manner, random))
        return found


def _survivors(file: _File, manner: Manner, random: Random) -> Iterable[Write | Truncate]:
    """Yield the unsynced writes that survive, in their order."""
    whole = random.randint(0, len(file.pending))
    share = random.choice([0.1, 0.5, 0.9])
    for at, event in enumerate(file.pending):
        if at in file.sure or manner == "all" or (manner == "prefix" and at < whole):
            yield event
        elif manner == "prefix" and at == whole:
            sectors = _sectors(event)
            yield from sectors[: random.randint(0, len(sectors))]
        elif manner in ("writes", "torn"):
            parts = [event] if manner == "writes" else _sectors(event)
            yield from (part for part in parts if random.random() < share)


def _sectors(event: Write | Truncate) -> Sequence[Write | Truncate]:
    if isinstance(event, Truncate):
        return [event]
    found: list[Write] = []
    at, end = event.offset, event.offset + len(event.data)
    while at < end:
        border = min(end, (at // SECTOR_BYTES + 1) * SECTOR_BYTES)
        data = event.data[at - event.offset : border - event.offset]
        found.append(Write(event.name, at, data))
        at = border
    return found


def _content(file: _File, events: Iterable[Write | Truncate]) -> bytes:
    content = bytearray(file.synced)
    for event in events:
        _put(content, event)
    return bytes(content)


def _put(content: bytearray, event: Write | Truncate) -> None:
    if isinstance(event, Truncate):
        del content[event.size :]
        content.extend(bytes(event.size - len(content)))
        return
    content.extend(bytes(max(0, event.offset - len(content))))
    content[event.offset : event.offset + len(event.data)] = event.data
