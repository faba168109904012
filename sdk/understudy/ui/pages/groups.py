"""The pages of all groups, and of one group with its functions."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import QueryParams

from understudy.ui.facts import NO_THROUGHPUT, NowFacts
from understudy.ui.function_statistics import function_statistics
from understudy.ui.overview import overview
from understudy.ui.pages.now import groups_region
from understudy.ui.reading import QUEUED_MAX, check, read_now
from understudy.ui.row_changes import Region
from understudy.ui.ui import Ui
from understudy.ui.view import View, message
from understudy.views.why import Explanation, Facts, explain_group
from understudy_store.commands import CallSearch, TaskSearch
from understudy_store.records import PENDING

#: calls from which statistics are made
COUNTED_MAX: Final = 1000


async def groups(ui: Ui, _query: QueryParams) -> View:
    """Show all groups with their nodes."""
    facts = await read_now(ui.port, (), NO_THROUGHPUT)
    assert facts is not None
    return View("groups.html", "Groups", {}, [groups_region(ui, overview(facts).groups)], "/groups")


async def group(ui: Ui, query: QueryParams) -> View:
    """Show a group: what keeps its tasks, its nodes, and how its functions do."""
    name = query.get("name", "")
    report = await ui.port.groups()
    assert report is not None
    halted, queued, calls = check(
        await ui.port.ask(
            [
                TaskSearch("halted", name, QUEUED_MAX),
                TaskSearch(PENDING, name, QUEUED_MAX),
                CallSearch(group=name, limit=COUNTED_MAX),
            ]
        )
    )
    found = next((each for each in report.groups if each.name == name), None)
    tasks = {task.id: task for reply in (halted, queued) for task in reply.tasks or ()}
    if found is None and not tasks and not calls.calls:
        return message(f"There is no group {name!r}", back="/groups", status=404)
    now_ms = ui.port.now_ms()
    explained = explain_group(name, Facts(now_ms, report, tasks=tasks))
    level = "calm"
    if explained.reasons:
        level = "bad" if halted.tasks or found is None or not found.nodes else "warn"
    rows = ui.rows("now_rows.html")
    shown = overview(NowFacts(now_ms, report)).groups
    nodes = next((each.nodes for each in shown if each.name == name), ())
    regions = [
        Region("why", {"why-row": _why_html(ui, name, level, explained)}, "div"),
        Region("nodes", {each.key: str(rows.node(each)) for each in nodes}),
    ]
    counted = calls.calls or []
    basis = f"Of its newest {len(counted):,} calls that begin a call graph."
    paused = () if found is None else found.pauses
    context = {
        "name": name,
        "functions": function_statistics(counted),
        "basis": basis,
        "paused": {each.function for each in paused},
    }
    return View("group.html", f"Group {name}", context, regions, "/groups")


def _why_html(ui: Ui, name: str, level: str, found: Explanation) -> str:
    said = {
        "id": name,
        "level": level,
        "summary": found.summary,
        "reasons": found.reasons,
        "traceback": "",
        "is_group": True,
    }
    return str(ui.rows("call_rows.html").why(said))
