"""The page of promises that wait for people."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from understudy.ui.payloads import shown
from understudy.ui.reading import read_waiting
from understudy.ui.row_changes import Region, row_key
from understudy.ui.ui import Ui
from understudy.ui.view import View
from understudy.views.times import duration
from understudy_store.records import origin_of


async def waiting(ui: Ui, query: QueryParams) -> View:
    """Show a page of promises that somebody outside is to settle, with what they ask."""
    found = await read_waiting(ui.port, query.get("cursor"))
    rows = ui.rows("list_rows.html")
    shown_rows = {}
    for record in sorted(found.promises, key=lambda each: each.created_at):
        key = row_key("waiting", record.id)
        left = record.timeout_at - found.now_ms
        row = {
            "key": key,
            "id": record.id,
            "origin": origin_of(record),
            "param": shown(record.param.data),
            "age": duration(max(0, found.now_ms - record.created_at)),
            "left": duration(left) if left > 0 else "passed",
        }
        shown_rows[key] = str(rows.waiting(row))
    more = f"/waiting?{urlencode({'cursor': found.cursor})}" if found.cursor else ""
    context = {"more": more, "first": "/waiting" if query.get("cursor") else ""}
    regions = [Region("waiting", shown_rows)]
    return View("waiting.html", "Waiting for people", context, regions, "/waiting")
