"""Schedules: the commands that create and search them."""

from __future__ import annotations

from typing import Any, Final

from understudy.edge.native.calls import (
    call_spec,
    checked_id,
    group_name,
    timeout_ms_of,
)
from understudy.edge.native.parameters import Parameters
from understudy.schedules import DEFAULT_PROMISE_ID
from understudy_actors.interpreter.child_commands import call_param, call_tags, outside
from understudy_store.commands import ScheduleCreate, ScheduleSearch

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
)
SEARCH_PARAMETERS: Final = ("prefix", "limit", "cursor")


def create_schedule(
    id_: str, arguments: tuple[tuple[Any, ...], dict[str, Any]], parameters: Parameters
) -> ScheduleCreate:
    """Return the command that creates a schedule; raises `Problem`."""
    cron = parameters.required("cron", "0+3+*+*+*")
    group = group_name(parameters.required("group", "reports"))
    function = parameters.required("function", "report")
    timeout_ms = timeout_ms_of(parameters)
    spec = call_spec("schedule", group, function, "", arguments, parameters)
    return ScheduleCreate(
        checked_id(id_),
        cron,
        parameters.text("promise_id") or DEFAULT_PROMISE_ID,
        timeout_ms,
        call_param(spec),
        call_tags(outside(timeout_ms), spec),
    )


def search(parameters: Parameters) -> ScheduleSearch:
    """Return the command that reads a page of schedules."""
    return ScheduleSearch(
        parameters.text("prefix") or "", parameters.limit(), parameters.text("cursor")
    )
