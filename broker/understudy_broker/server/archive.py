"""The archive: what retention is about to delete, as lines of JSON in a file.

A line is written, and synced, before the broker deletes what it tells of. So after a crash between
the two it is there twice, and never not at all: whoever reads an archive takes the last line of an
id. Data is in base64, as it is stored; times are epoch milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from understudy_store.records import EndedGraph

_encode: Final = msgspec.json.Encoder().encode


def lines(graphs: Iterable[EndedGraph]) -> bytes:
    """Return the lines of what is to be deleted: one for each promise."""
    made = bytearray()
    for graph in graphs:
        for row in graph.rows:
            promise, task = row.promise, row.task
            fields = {
                "id": promise.id,
                "root": graph.id,
                "state": promise.state,
                "param": msgspec.structs.asdict(promise.param),
                "value": msgspec.structs.asdict(promise.value),
                "tags": promise.tags,
                "created_at": promise.created_at,
                "settled_at": promise.settled_at,
                "timeout_at": promise.timeout_at,
                "task": None if task is None else msgspec.structs.asdict(task),
            }
            made += _encode(fields) + b"\n"
    return bytes(made)


def append(path: Path, data: bytes) -> None:
    """Write lines to the end of a file, durable on return; for its owner alone, if it is new.

    Raises
    ------
    OSError
        They were not written, or not wholly.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        at = os.lseek(descriptor, 0, os.SEEK_END)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, at)
            raise
    finally:
        os.close(descriptor)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
