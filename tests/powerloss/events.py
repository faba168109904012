"""What happens to the files of a store, and what the store says meanwhile."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Write(msgspec.Struct, frozen=True):
    """Bytes are written; `offset` in bytes."""

    name: str
    offset: int
    data: bytes


class Truncate(msgspec.Struct, frozen=True):
    """A file gets this size."""

    name: str
    size: int


class Sync(msgspec.Struct, frozen=True):
    """All that was written to a file is durable."""

    name: str


class SyncWrite(msgspec.Struct, frozen=True):
    """The last write to a file is durable; what was written to it before may not be."""

    name: str


class Create(msgspec.Struct, frozen=True):
    """A file is entered into the directory."""

    name: str


class Delete(msgspec.Struct, frozen=True):
    """A file is taken out of the directory."""

    name: str


class SyncDirectory(msgspec.Struct, frozen=True):
    """The entries of the directory are durable."""


class Begun(msgspec.Struct, frozen=True):
    """The batch of this number is handed to the store."""

    batch: int


class Acknowledged(msgspec.Struct, frozen=True):
    """The store has said that the batches up to this number are durable."""

    batch: int


class Opened(msgspec.Struct, frozen=True):
    """The store is open, and shows what this many batches have made."""

    batches: int


class Lost(msgspec.Struct, frozen=True):
    """The power went, and these files are what was found afterwards."""

    files: dict[str, bytes]


Event: TypeAlias = (
    Write
    | Truncate
    | Sync
    | SyncWrite
    | Create
    | Delete
    | SyncDirectory
    | Begun
    | Acknowledged
    | Opened
    | Lost
)
