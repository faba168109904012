"""The limit `retention` of an identity: how long its call graphs are kept, at most. Pure.

It is applied when a call graph begins: one that would be kept for longer is created with the tag by
which creators say how long, as if its own had. So nothing else has to know of it, and a call
keeps what was promised to it when a role changes.
"""

from __future__ import annotations

from typing import TypeVar

from msgspec.structs import replace

from understudy_broker.protocol.messages import OwnCommand, PromiseCreateWatched
from understudy_store.addresses import group_of
from understudy_store.commands import (
    PromiseCreate,
    ScheduleCreate,
    SchedulePut,
    TaskCreate,
    TaskFence,
)
from understudy_store.records import (
    HEADER_FUNCTION,
    NEVER_PURGED,
    TAG_ORIGIN,
    TAG_RETENTION,
    TAG_TARGET,
    RetentionRules,
    Value,
    retention_of,
)
from understudy_store.retention import Root, kept_ms

_C = TypeVar("_C", PromiseCreate, TaskCreate)


def kept_within(command: OwnCommand, most_ms: int, rules: RetentionRules) -> OwnCommand:
    """Return a command whose call graphs are kept for no longer than `most_ms` after their ends.

    Parameters
    ----------
    rules
        Those of the broker, which say how long others are kept.
    """
    match command:
        case PromiseCreateWatched(create=create):
            return PromiseCreateWatched(_within(create, most_ms, rules))
        case TaskFence(commands=commands):
            inner = tuple(
                _within(each, most_ms, rules) if isinstance(each, PromiseCreate) else each
                for each in commands
            )
            return replace(command, commands=inner)
        case PromiseCreate():
            return _within(command, most_ms, rules)
        case TaskCreate():
            return _within(command, most_ms, rules)
        case (
            ScheduleCreate(promise_param=param, promise_tags=tags)
            | SchedulePut(promise_param=param, promise_tags=tags)
        ):
            return replace(command, promise_tags=_tags(tags, param, most_ms, rules))
        case _:
            return command


def _within(create: _C, most_ms: int, rules: RetentionRules) -> _C:
    if create.tags.get(TAG_ORIGIN, create.id) != create.id:
        return create  # It goes with its root.
    tags = _tags(create.tags, create.param, most_ms, rules)
    return create if tags is create.tags else replace(create, tags=tags)


def _tags(
    tags: dict[str, str], param: Value, most_ms: int, rules: RetentionRules
) -> dict[str, str]:
    said = tags.get(TAG_RETENTION)
    if said is not None and said != NEVER_PURGED and not (said.isascii() and said.isdecimal()):
        return tags  # The machine refuses it.
    target = tags.get(TAG_TARGET)
    kept = kept_ms(
        Root(
            "",
            "resolved",
            0,
            None if target is None else param.headers.get(HEADER_FUNCTION, ""),
            None if target is None else group_of(target),
            retention_of(tags),
        ),
        rules,
    )
    return tags if kept is not None and kept <= most_ms else {**tags, TAG_RETENTION: str(most_ms)}
