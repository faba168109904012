"""Events: operations on the files of a store, and reports of the store between them."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Write(msgspec.Struct, frozen=True):
    """Bytes are written at `offset`, which counts in bytes."""

    name: str
    offset: int
    data: bytes


class Truncate(msgspec.Struct, frozen=True):
    """The size of a file is set."""

    name: str
    size: int


class Sync(msgspec.Struct, frozen=True):
    """A file is synced: everything written to it so far is durable."""

    name: str


class SyncWrite(msgspec.Struct, frozen=True):
    """The last write to a file is durable; earlier writes to it may not be."""

    name: str


class Create(msgspec.Struct, frozen=True):
    """A file is added to the directory."""

    name: str


class Delete(msgspec.Struct, frozen=True):
    """A file is removed from the directory."""

    name: str


class SyncDirectory(msgspec.Struct, frozen=True):
    """The directory is synced: its entries are durable."""


class Begun(msgspec.Struct, frozen=True):
    """The batch with this number is handed to the store."""

    batch: int


class Acknowledged(msgspec.Struct, frozen=True):
    """The store has reported that all batches up to this number are durable."""

    batch: int


class Opened(msgspec.Struct, frozen=True):
    """The store is open, and its content is that after this many batches."""

    batches: int


class Lost(msgspec.Struct, frozen=True):
    """The power was lost, and these files were found afterwards."""

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
