"""A pending promise as it is stored: texts are JSON, and nobody has looked into them yet.

It is what a restart reads, and there may be very many of them: most will be looked into only when
their deadline comes.
"""

from __future__ import annotations

from typing import Final, cast

import msgspec

from understudy_store.changes import Row
from understudy_store.records import (
    EMPTY,
    PENDING,
    TAG_BRANCH,
    PromiseRecord,
    TaskRecord,
    TaskState,
    Value,
)

_encode: Final = msgspec.json.Encoder().encode
_decode_texts: Final = msgspec.json.Decoder(dict[str, str]).decode
_decode_ids: Final = msgspec.json.Decoder(tuple[str, ...]).decode


def texts_to_json(texts: dict[str, str]) -> str:
    """As headers and tags are stored."""
    return _encode(texts).decode() if texts else "{}"


def texts_from_json(text: str) -> dict[str, str]:
    """What `texts_to_json` was given."""
    return _decode_texts(text)


def ids_to_json(ids: tuple[str, ...]) -> str | None:
    """As what a task resumes with is stored; None for none."""
    return _encode(ids).decode() if ids else None


def ids_from_json(text: str | None) -> tuple[str, ...]:
    """What `ids_to_json` was given."""
    return () if text is None else _decode_ids(text)


def value_from_json(headers: str, data: bytes | None) -> Value:
    """A param or a value; the empty one is always the same."""
    if headers == "{}":
        return EMPTY if data is None else Value({}, data)
    return Value(_decode_texts(headers), data)


class PendingRow(msgspec.Struct, frozen=True, gc=False):
    """A pending promise with its task; the fields are columns of the table (see `tables`)."""

    id: str
    param_headers: str
    param_data: bytes | None
    tags: str
    timeout_at: int
    created_at: int
    #: the tag
    branch: str | None = None
    # of a task; None if there is none
    target: str | None = None
    task_state: TaskState | None = None
    version: int | None = None
    pid: str | None = None
    ttl: int | None = None
    expires_at: int | None = None
    retry_at: int | None = None
    resumes: str | None = None
    failures: int | None = None
    deaths: int | None = None
    cause: str | None = None

    def row(self) -> Row:
        """The same, looked into."""
        promise = PromiseRecord(
            self.id,
            PENDING,
            value_from_json(self.param_headers, self.param_data),
            EMPTY,
            _decode_texts(self.tags),
            self.timeout_at,
            self.created_at,
        )
        if self.target is None:
            return Row(promise)
        task = TaskRecord(
            self.id,
            cast(TaskState, self.task_state),
            self.version or 0,
            self.target,
            self.pid,
            self.ttl,
            self.expires_at,
            self.retry_at,
            ids_from_json(self.resumes),
            self.failures or 0,
            self.deaths or 0,
            self.cause,
        )
        return Row(promise, task)


def stored(row: Row) -> PendingRow:
    """As `row`, which is pending, is stored."""
    promise, task = row.promise, row.task
    made = (
        promise.id,
        texts_to_json(promise.param.headers),
        promise.param.data,
        texts_to_json(promise.tags),
        promise.timeout_at,
        promise.created_at,
        promise.tags.get(TAG_BRANCH),
    )
    if task is None:
        return PendingRow(*made)
    return PendingRow(
        *made,
        task.target,
        task.state,
        task.version,
        task.pid,
        task.ttl,
        task.expires_at,
        task.retry_at,
        ids_to_json(task.resumes),
        task.failures,
        task.deaths,
        task.cause,
    )
