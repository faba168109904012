"""A pending promise as it is stored: texts are JSON that nobody has decoded yet.

A restart reads all of them, and there may be very many: most are decoded only when their deadline
comes. The codec of the columns stands here too, because the machine packs idle promises in the same
form.

The columns of a task are the fields of `TaskRecord` but for its id, in the same order. They are
handled as one tuple, so a new field of a task passes through here unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec
from msgspec.structs import astuple

from understudy_store.records import (
    EMPTY,
    PENDING,
    TAG_BRANCH,
    TAG_ORIGIN,
    TAG_TARGET,
    PromiseRecord,
    Row,
    TaskRecord,
    TaskState,
    Value,
)

_FIELDS: Final = TaskRecord.__struct_fields__
#: columns of a task, which share a row with those of its promise
TASK_COLUMNS: Final = tuple("task_state" if name == "state" else name for name in _FIELDS[1:])
#: values of `TASK_COLUMNS`
TaskValues: TypeAlias = tuple[Any, ...]
#: values of `TASK_COLUMNS` of a promise without a task
NO_TASK: Final[TaskValues] = (None,) * len(TASK_COLUMNS)

_STATE: Final = TASK_COLUMNS.index("task_state")
_TARGET: Final = TASK_COLUMNS.index("target")
_AWAITS: Final = TASK_COLUMNS.index("awaits")
#: columns that are JSON arrays of ids; NULL for none
_IDS: Final = tuple(TASK_COLUMNS.index(name) for name in ("resumes", "awaits"))
#: Columns that older rows have as NULL, and the value that NULL stands for.
_DEFAULTS: Final = {
    TASK_COLUMNS.index(name): 0 for name in ("failures", "deaths", "suspensions", "logged")
}

_encode: Final = msgspec.json.Encoder().encode
_decode_texts: Final = msgspec.json.Decoder(dict[str, str]).decode
_decode_ids: Final = msgspec.json.Decoder(tuple[str, ...]).decode


def texts_to_json(texts: dict[str, str]) -> str:
    """Encode headers or tags as they are stored."""
    return _encode(texts).decode() if texts else "{}"


def texts_from_json(text: str) -> dict[str, str]:
    """Decode what `texts_to_json` has encoded."""
    return _decode_texts(text)


def stored_tags(tags: dict[str, str], id: str, target: str | None) -> str:
    """Encode tags as they are stored: those that columns beside them have are left out.

    Examples
    --------
    >>> stored_tags({TAG_ORIGIN: "a", TAG_BRANCH: "a.1", "customer": "ann"}, "a.1.1", None)
    '{"customer":"ann"}'
    """
    kept = dict(tags)
    if kept.get(TAG_ORIGIN, id) != id:
        del kept[TAG_ORIGIN]
    kept.pop(TAG_BRANCH, None)
    if target is not None and kept.get(TAG_TARGET) == target:
        del kept[TAG_TARGET]
    return texts_to_json(kept)


def whole_tags(
    stored: str, id: str, origin: str, branch: str | None, target: str | None
) -> dict[str, str]:
    """Return all tags, from what `stored_tags` has encoded and the columns beside it.

    Rows that are older than schema 0013 have all of them there.

    Examples
    --------
    >>> whole_tags('{"customer":"ann"}', "a.1.1", "a", "a.1", None)
    {'customer': 'ann', 'understudy:origin': 'a', 'understudy:branch': 'a.1'}
    """
    tags = _decode_texts(stored)
    if origin != id:
        tags.setdefault(TAG_ORIGIN, origin)
    if branch is not None:
        tags.setdefault(TAG_BRANCH, branch)
    if target is not None:
        tags.setdefault(TAG_TARGET, target)
    return tags


def value_from_json(headers: str, data: bytes | None) -> Value:
    """Return a param or a value; the empty one is always the same object."""
    if headers == "{}":
        return EMPTY if data is None else Value({}, data)
    return Value(_decode_texts(headers), data)


def task_to_values(task: TaskRecord) -> TaskValues:
    """Encode a task as the values of `TASK_COLUMNS`."""
    values = list(astuple(task))
    del values[0]
    for place in _IDS:
        ids = values[place]
        values[place] = _encode(ids).decode() if ids else None
    return tuple(values)


def task_from_values(task_id: str, values: Sequence[Any]) -> TaskRecord | None:
    """Decode the values of `TASK_COLUMNS`; None if they are those of a promise without a task."""
    if values[_STATE] is None:
        return None
    fields = list(values)
    for place in _IDS:
        ids = fields[place]
        fields[place] = () if ids is None else _decode_ids(ids)
    for place, default in _DEFAULTS.items():
        if fields[place] is None:
            fields[place] = default
    return TaskRecord(task_id, *fields)


def task_awaits(values: TaskValues) -> tuple[str, ...]:
    """Return the ids in other slots that a task waits for, from the values of `TASK_COLUMNS`."""
    awaits: str | None = values[_AWAITS]
    return () if awaits is None else _decode_ids(awaits)


class PendingRow(msgspec.Struct, frozen=True, gc=False):
    """A pending promise with its task; the fields but the last are columns (see `tables`).

    Its tags are all of them (`whole_tags`).
    """

    id: str
    param_headers: str
    param_data: bytes | None
    tags: str
    timeout_at: int
    created_at: int
    #: value of the tag `TAG_BRANCH`
    branch: str | None = None
    #: values of `TASK_COLUMNS`; None if the promise has no task
    task: TaskValues | None = None

    @property
    def task_state(self) -> TaskState | None:
        """The state of the task, if there is one."""
        if self.task is None:
            return None
        state: TaskState = self.task[_STATE]
        return state

    def row(self) -> Row:
        """Return the row, decoded."""
        promise = PromiseRecord(
            self.id,
            PENDING,
            value_from_json(self.param_headers, self.param_data),
            EMPTY,
            _decode_texts(self.tags),
            self.timeout_at,
            self.created_at,
        )
        return Row(promise, None if self.task is None else task_from_values(self.id, self.task))


#: columns that `pending_row` takes
PENDING_COLUMNS: Final = (*PendingRow.__struct_fields__[:-1], "origin", *TASK_COLUMNS)


def pending_row(values: Sequence[Any]) -> PendingRow:
    """Return the pending promise whose `PENDING_COLUMNS` hold `values`."""
    id_, headers, data, tags, timeout_at, created_at, branch, origin, *task = values
    return PendingRow(
        id_,
        headers,
        data,
        texts_to_json(whole_tags(tags, id_, origin, branch, task[_TARGET])),
        timeout_at,
        created_at,
        branch,
        None if task[_STATE] is None else tuple(task),
    )


def to_pending_row(row: Row) -> PendingRow:
    """Encode a pending promise and its task as they are stored."""
    promise, task = row.promise, row.task
    return PendingRow(
        promise.id,
        texts_to_json(promise.param.headers),
        promise.param.data,
        texts_to_json(promise.tags),
        promise.timeout_at,
        promise.created_at,
        promise.tags.get(TAG_BRANCH),
        None if task is None else task_to_values(task),
    )
