"""The calls of the older REST that concern schedules. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from understudy.edge.resonate.legacy.calls import (
    TTL_MAX,
    Answer,
    Call,
    Data,
    Plan,
    Text,
    Timeout,
    error,
    read,
    refused,
)
from understudy.edge.resonate.legacy.clients import Clients
from understudy.edge.resonate.legacy.records import TAG_KEY, schedule_json
from understudy.edge.resonate.payloads import NO_VALUE, ValueIn, stored_param
from understudy.edge.resonate.records import stored_template
from understudy.edge.resonate.tags import stored_legacy_tags
from understudy_store.commands import ScheduleCreate, ScheduleDelete, ScheduleGet, ScheduleSearch


class _Schedule(Data):
    id: Text
    cron: str
    promise_id: Text
    promise_timeout: Timeout
    promise_param: ValueIn | None = None
    promise_tags: dict[str, str] | None = None


def create(call: Call, _clients: Clients) -> Plan:
    asked = read(_Schedule, call)
    tags = stored_legacy_tags("", asked.promise_tags or {})
    if call.key is not None:
        tags[TAG_KEY] = call.key
    command = ScheduleCreate(
        asked.id,
        asked.cron,
        stored_template(asked.promise_id),
        max(1, min(asked.promise_timeout, TTL_MAX)),
        stored_param(asked.promise_param or NO_VALUE),
        tags,
    )
    (reply,) = yield (command,)
    schedule = reply.schedule
    if not reply.ok or schedule is None:
        return refused(reply, "schedule")
    if reply.status == 200:
        known = schedule.promise_tags.get(TAG_KEY)
        if known is None or known != call.key:
            return error(409, "The specified schedule already exists")
    return Answer(reply.status, schedule_json(schedule))


def get(call: Call, _clients: Clients) -> Plan:
    (reply,) = yield (ScheduleGet(call.id),)
    if reply.schedule is None:
        return refused(reply, "schedule")
    return Answer(200, schedule_json(reply.schedule))


def delete(call: Call, _clients: Clients) -> Plan:
    (reply,) = yield (ScheduleDelete(call.id),)
    return Answer(204, None) if reply.ok else refused(reply, "schedule")


def search(call: Call, _clients: Clients) -> Plan:
    pattern = (call.query.get("id") or ["*"])[0]
    cursor: str | None = None
    found: list[dict[str, Any]] = []
    while True:
        search = ScheduleSearch(prefix=pattern.partition("*")[0], cursor=cursor)
        (reply,) = yield (search,)
        if not reply.ok:
            return refused(reply, "schedule")
        found += (schedule_json(s) for s in reply.schedules or () if fnmatchcase(s.id, pattern))
        cursor = reply.cursor
        if cursor is None:
            return Answer(200, {"schedules": found})
