"""The page of the builds of the programs that nodes run."""

from __future__ import annotations

from starlette.datastructures import QueryParams

from understudy.ui.builds import build_rows
from understudy.ui.row_changes import Region
from understudy.ui.ui import Ui
from understudy.ui.view import View


async def builds(ui: Ui, _query: QueryParams) -> View:
    """Show the builds, with their nodes, groups and running tasks."""
    report = await ui.port.groups()
    assert report is not None
    found = build_rows(report)
    rows = ui.rows("list_rows.html")
    context = {"is_said": not found or any(row.name for row in found)}
    regions = [Region("builds", {row.key: str(rows.build(row)) for row in found})]
    return View("builds.html", "Builds", context, regions, "/builds")
