"""Schedules: the commands that create and search them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from understudy.client.calls import trigger_command
from understudy.edge.native.calls import (
    call_spec,
    checked_id,
    group_name,
    timeout_ms_of,
)
from understudy.edge.native.parameters import Parameters
from understudy.schedules import DEFAULT_PROMISE_ID, TIMES_MAX
from understudy_actors.interpreter.child_commands import call_param, call_tags, outside
from understudy_store.commands import (
    ScheduleNext,
    SchedulePause,
    SchedulePut,
    ScheduleSearch,
    ScheduleTrigger,
    ScheduleUpdate,
)
from understudy_store.records import CATCH_UPS, OVERLAPS, SchedulePlan

CREATE_PARAMETERS: Final = (
    "cron",
    "group",
    "function",
    "timeout",
    "version",
    "priority",
    "tag",
    "promise_id",
    "unknown",
    "zone",
    "overlap",
    "catch_up",
    "jitter",
    "replace",
)
UPDATE_PARAMETERS: Final = ("cron", "timeout", "zone", "overlap", "catch_up", "jitter")
PAUSE_PARAMETERS: Final = ("reason", "until")
NEXT_PARAMETERS: Final = ("count",)
#: no later time can be stored
TIME_MS_MAX: Final = 2**62
SEARCH_PARAMETERS: Final = ("prefix", "limit", "cursor")


def create_schedule(
    id_: str, arguments: tuple[tuple[Any, ...], dict[str, Any]], parameters: Parameters
) -> SchedulePut:
    """Return the command that creates a schedule; raises `Problem`."""
    cron = parameters.required("cron", "0+3+*+*+*")
    group = group_name(parameters.required("group", "reports"))
    function = parameters.required("function", "report")
    timeout_ms = timeout_ms_of(parameters)
    spec = call_spec("schedule", group, function, "", arguments, parameters)
    return SchedulePut(
        checked_id(id_),
        cron,
        parameters.text("promise_id") or DEFAULT_PROMISE_ID,
        timeout_ms,
        call_param(spec),
        call_tags(outside(timeout_ms), spec),
        msgspec.structs.replace(SchedulePlan(), **_plan_changes(parameters)),
        parameters.choice("replace", ("true", "false")) == "true",
    )


def update(id_: str, parameters: Parameters) -> ScheduleUpdate:
    """Return the command that changes a schedule; raises `Problem`."""
    timeout_s = parameters.seconds("timeout", zero=False)
    timeout_ms = None if timeout_s is None else int(timeout_s * 1000)
    return ScheduleUpdate(id_, parameters.text("cron"), timeout_ms, **_plan_changes(parameters))


def _plan_changes(parameters: Parameters) -> dict[str, Any]:
    """Return the fields of a plan that are given."""
    changes: dict[str, Any] = {"zone": parameters.text("zone")}
    changes["overlap"] = parameters.choice("overlap", OVERLAPS)
    catch_up = parameters.text("catch_up")
    changes["catch_up"] = catch_up if catch_up in CATCH_UPS else _ms(parameters.seconds("catch_up"))
    changes["jitter"] = _ms(parameters.seconds("jitter"))
    return {name: value for name, value in changes.items() if value is not None}


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)


def pause(id_: str, parameters: Parameters) -> SchedulePause:
    """Return the command that pauses a schedule; raises `Problem`."""
    until = parameters.integer("until", 0, TIME_MS_MAX)
    return SchedulePause(id_, parameters.text("reason") or "", until)


def trigger(id_: str, now_ms: int) -> ScheduleTrigger:
    """Return the command that makes a call now."""
    return trigger_command(id_, now_ms)


def next_(id_: str, parameters: Parameters) -> ScheduleNext:
    """Return the command that reads the next times; raises `Problem`."""
    return ScheduleNext(id_, parameters.integer("count", 1, TIMES_MAX) or 10)


def search(parameters: Parameters) -> ScheduleSearch:
    """Return the command that reads a page of schedules."""
    return ScheduleSearch(
        parameters.text("prefix") or "", parameters.limit(), parameters.text("cursor")
    )
