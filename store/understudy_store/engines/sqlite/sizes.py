"""Sizes of the files of a store."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from understudy_store.records import StoreStats


def size_of(path: Path) -> int:
    """Return the bytes of a file; 0 if there is none."""
    with suppress(OSError):
        return path.stat().st_size
    return 0


def with_files(stats: StoreStats, path: Path) -> StoreStats:
    """Return what a store has, with the sizes of its files.

    Parameters
    ----------
    path
        Of the store's file.
    """
    return replace(
        stats,
        file_bytes=size_of(path),
        log_bytes=size_of(Path(f"{path}-wal")),
        journal_bytes=size_of(Path(f"{path}.journal")),
    )
