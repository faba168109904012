"""Conflicts of schedules: one that exists is another one than is asked for.

This is told by whoever asks, because the broker cannot compare arguments that are sealed.
"""

from __future__ import annotations

from typing import Any, Final

from understudy.values.seals import is_sealed
from understudy.views.json_data import compact, decoded
from understudy_actors.errors import CommandError
from understudy_store.commands import ScheduleCreate, SchedulePut
from understudy_store.records import (
    HEADER_FUNCTION,
    HEADER_SITE,
    HEADER_VERSION,
    PLAN,
    TAG_IDENTITY,
    TAG_TARGET,
    SchedulePlan,
    ScheduleRecord,
    Value,
)

#: headers that have a name of their own among the differences, or make none: the place in the code
_NAMED: Final = (HEADER_FUNCTION, HEADER_VERSION, HEADER_SITE)
#: begins what is shown in the place of a pickle, which is never loaded to be compared
_PICKLED: Final = "<pickled, "


def check_same_schedule(
    asked: ScheduleCreate | SchedulePut, found: ScheduleRecord, remedy: str
) -> None:
    """Raise a `CommandError` with 409 if a schedule that exists is another one than is asked for.

    Parameters
    ----------
    remedy
        What changes a schedule that exists, for the message.
    """
    text = difference(asked, found)
    if text is not None:
        raise CommandError(
            409, f"schedule {found.id!r} already exists, with {text}. To change it: {remedy}"
        )


def difference(asked: ScheduleCreate | SchedulePut, found: ScheduleRecord) -> str | None:
    """Return the first thing in which a schedule differs from what is asked for, in words."""
    plan = asked.plan if isinstance(asked, SchedulePut) else PLAN
    for name, ours, theirs in (
        ("cron", asked.cron, found.cron),
        *_plans(plan, found.plan),
        *_calls(asked.promise_param, found.promise_param),
        ("group", asked.promise_tags.get(TAG_TARGET), found.promise_tags.get(TAG_TARGET)),
        ("promise_id", asked.promise_id, found.promise_id),
        ("timeout", asked.promise_timeout / 1000, found.promise_timeout / 1000),
        ("tags", _tags(asked.promise_tags), _tags(found.promise_tags)),
    ):
        if ours != theirs:
            return f"another {name}: {_shown(theirs)} is stored, and {_shown(ours)} asked for"
    return _arguments(asked.promise_param, found.promise_param)


def _plans(ours: SchedulePlan, theirs: SchedulePlan) -> list[tuple[str, Any, Any]]:
    names = SchedulePlan.__struct_fields__
    return [(name, getattr(ours, name), getattr(theirs, name)) for name in names]


def _calls(ours: Value, theirs: Value) -> list[tuple[str, Any, Any]]:
    mine, its = ours.headers, theirs.headers
    return [
        ("function", mine.get(HEADER_FUNCTION), its.get(HEADER_FUNCTION)),
        ("version", mine.get(HEADER_VERSION), its.get(HEADER_VERSION)),
        ("headers", _unnamed(mine), _unnamed(its)),
    ]


def _unnamed(headers: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in headers.items() if name not in _NAMED}


def _tags(tags: dict[str, str]) -> dict[str, str]:
    # A broker with keys adds who has created it.
    return {name: text for name, text in tags.items() if name != TAG_IDENTITY}


def _shown(value: object) -> str:
    return "none" if value is None else repr(value)


def _arguments(ours: Value, theirs: Value) -> str | None:
    if ours.data == theirs.data:
        return None
    if is_sealed(theirs.data):
        return "arguments that are sealed with a key that is not here"
    mine, its = decoded(ours.data), decoded(theirs.data)
    if mine == its and _PICKLED not in str(its):
        return None
    return f"other arguments: {compact(its)} are stored, and {compact(mine)} asked for"
