"""Journal records: a commit as bytes, with each object once, and of an update only the change."""

from __future__ import annotations

from typing import Final

import msgspec

from understudy_store.changes import Changes
from understudy_store.records import (
    EMPTY,
    AttemptRecord,
    PromiseRecord,
    PromiseState,
    Row,
    ScheduleRecord,
    TaskRecord,
    Value,
)


class _Update(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The fields that an update writes (see `rows.UPDATE_COLUMNS`)."""

    id: str
    state: PromiseState
    value: Value
    settled_at: int | None
    task: TaskRecord | None


class _Commit(msgspec.Struct, array_like=True, frozen=True):
    """The fields of `Changes`, in their order."""

    now: int
    inserted: list[Row]
    updated: list[_Update]
    callbacks_added: list[tuple[str, str]]
    callbacks_removed: list[str]
    listeners_added: list[tuple[str, str]]
    listeners_removed: list[str]
    unblocks_added: list[tuple[str, str]]
    unblocks_removed: list[tuple[str, str]]
    schedules_put: list[ScheduleRecord]
    schedules_deleted: list[str]
    #: earlier releases have written none
    attempts: list[AttemptRecord] = []
    purged: list[str] = []
    replaced: list[Row] = []


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Commit).decode


def encode(changes: Changes) -> bytes:
    """Encode a commit as a journal record. `decode(encode(c))` writes the same rows as `c`."""
    return _encode(
        (
            changes.now,
            changes.inserted,
            [
                (promise.id, promise.state, promise.value, promise.settled_at, row.task)
                for row in changes.updated
                for promise in (row.promise,)
            ],
            changes.callbacks_added,
            changes.callbacks_removed,
            changes.listeners_added,
            changes.listeners_removed,
            changes.unblocks_added,
            changes.unblocks_removed,
            changes.schedules_put,
            changes.schedules_deleted,
            changes.attempts,
            changes.purged,
            changes.replaced,
        )
    )


def decode(data: bytes) -> Changes:
    """Decode a commit. Updated rows have only the fields that an update writes: the rest is empty.

    Raises
    ------
    msgspec.MsgspecError
        `data` is no encoded commit.
    """
    commit = _decode(data)
    updated = [
        Row(PromiseRecord(u.id, u.state, EMPTY, u.value, {}, 0, 0, u.settled_at), u.task)
        for u in commit.updated
    ]
    return Changes(
        commit.now,
        commit.inserted,
        updated,
        commit.callbacks_added,
        commit.callbacks_removed,
        commit.listeners_added,
        commit.listeners_removed,
        commit.unblocks_added,
        commit.unblocks_removed,
        commit.schedules_put,
        commit.schedules_deleted,
        commit.attempts,
        commit.purged,
        commit.replaced,
    )
