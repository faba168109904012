"""The page of schedules."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from understudy.ui.deeds import DEEDS
from understudy.ui.reading import check
from understudy.ui.row_changes import Region, row_key
from understudy.ui.ui import Ui
from understudy.ui.view import View
from understudy.views.times import duration, moment
from understudy_store.addresses import InvalidAddressError, group_of
from understudy_store.commands import ScheduleSearch
from understudy_store.records import HEADER_FUNCTION, TAG_TARGET, ScheduleRecord


async def schedules(ui: Ui, query: QueryParams) -> View:
    """Show a page of schedules."""
    (reply,) = check(await ui.port.ask([ScheduleSearch(limit=100, cursor=query.get("cursor"))]))
    rows = ui.rows("list_rows.html")
    now_ms = ui.port.now_ms()
    found = {}
    for schedule in reply.schedules or ():
        row = _row(schedule, now_ms)
        found[row["key"]] = str(rows.schedule(row))
    more = f"/schedules?{urlencode({'cursor': reply.cursor})}" if reply.cursor else ""
    regions = [Region("schedules", found)]
    return View("schedules.html", "Schedules", {"more": more}, regions, "/schedules")


def _row(schedule: ScheduleRecord, now_ms: int) -> dict[str, Any]:
    course, target = schedule.course, schedule.promise_tags.get(TAG_TARGET)
    try:
        group = "" if target is None else group_of(target)
    except InvalidAddressError:
        group = target or ""
    is_paused = course.paused_at is not None
    skipped = ""
    if course.skipped_at is not None:
        skipped = f"left out {moment(course.skipped_at)}: {course.skipped_why}"
    names = ("trigger", "resume" if is_paused else "pause", "delete")
    return {
        "key": row_key("schedule", schedule.id),
        "id": schedule.id,
        "function": schedule.promise_param.headers.get(HEADER_FUNCTION, ""),
        "group": group,
        "cron": schedule.cron,
        "zone": schedule.plan.zone,
        "paused": _paused(schedule) if is_paused else "",
        "next": moment(schedule.next_run_at),
        "next_in": duration(max(0, schedule.next_run_at - now_ms)),
        "last": moment(schedule.last_run_at),
        "last_id": course.last_id,
        "skipped": skipped,
        "deeds": [DEEDS[name] for name in names],
    }


def _paused(schedule: ScheduleRecord) -> str:
    course = schedule.course
    until = "" if course.paused_until is None else f" until {moment(course.paused_until)}"
    return f"paused{until}{': ' if course.pause_reason else ''}{course.pause_reason}"
