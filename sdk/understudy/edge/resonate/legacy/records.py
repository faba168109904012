"""Records as the protocol's earlier servers write them. Pure."""

from __future__ import annotations

from typing import Any, Final

from understudy.edge.resonate.payloads import shown_param, shown_value
from understudy.edge.resonate.records import WIRE_TIME_MAX, shown_template
from understudy.edge.resonate.tags import shown_legacy_tags
from understudy_store.machine.validation import TIME_MS_MAX
from understudy_store.records import PromiseRecord, ScheduleRecord

#: the idempotency key of a create or a settlement, among the headers of the param or the value
HEADER_KEY: Final = "ikey"
#: that of a schedule, among the tags of its promises
TAG_KEY: Final = "understudy:ikey"


def promise_json(record: PromiseRecord) -> dict[str, Any]:
    """Return a promise."""
    timeout_at = record.timeout_at
    shown: dict[str, Any] = {
        "id": record.id,
        "state": record.state.upper(),
        "param": shown_param(record.param),
        "value": shown_value(record, legacy=True),
        "timeout": WIRE_TIME_MAX if timeout_at >= TIME_MS_MAX else timeout_at,
        "createdOn": record.created_at,
    }
    tags = shown_legacy_tags(record.id, record.tags)
    if tags:
        shown["tags"] = tags
    if HEADER_KEY in record.param.headers:
        shown["idempotencyKeyForCreate"] = record.param.headers[HEADER_KEY]
    if HEADER_KEY in record.value.headers:
        shown["idempotencyKeyForComplete"] = record.value.headers[HEADER_KEY]
    if record.settled_at is not None:
        shown["completedOn"] = record.settled_at
    return shown


def schedule_json(record: ScheduleRecord) -> dict[str, Any]:
    """Return a schedule."""
    shown: dict[str, Any] = {
        "id": record.id,
        "cron": record.cron,
        "promiseId": shown_template(record.promise_id),
        "promiseTimeout": record.promise_timeout,
        "promiseParam": shown_param(record.promise_param),
        "promiseTags": shown_legacy_tags("", record.promise_tags),
        "createdOn": record.created_at,
        "nextRunTime": record.next_run_at,
    }
    if TAG_KEY in record.promise_tags:
        shown["idempotencyKey"] = record.promise_tags[TAG_KEY]
    if record.last_run_at is not None:
        shown["lastRunTime"] = record.last_run_at
    return shown
