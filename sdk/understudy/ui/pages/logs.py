"""The tab with the log lines of a call."""

from __future__ import annotations

from typing import Any, Final

from starlette.datastructures import QueryParams

from understudy.ui.facts import CallFacts
from understudy.ui.log_entries import Entry, Wanted
from understudy.ui.log_files import LINES_MAX
from understudy.ui.row_changes import Region, row_key
from understudy.ui.ui import Ui
from understudy.views.call_graph import Node
from understudy_store.records import LOCAL, origin_of

#: how much of a level is seen at once
_LEVELS: Final = {"error": "bad", "critical": "bad", "warning": "warn"}


async def logs_tab(
    ui: Ui, root: Node, facts: CallFacts, query: QueryParams
) -> tuple[list[Region], dict[str, Any]]:
    """Show the newest lines of a call with what is below it, or of the call alone.

    Returns
    -------
    The regions of the tab, and what its template gets besides.
    """
    is_alone = query.get("of") == "call"
    steps = [child.id for child in root.children if child.role == LOCAL]
    is_root = origin_of(facts.record) == root.id
    wanted = Wanted(root.id, is_root, frozenset([root.id, *steps]) if is_alone else None)
    found = await ui.logs.search(wanted)
    rows: dict[str, str] = {}
    for entry in found.entries:
        key, number = row_key("log", repr(entry)), 1
        while key in rows:  # the same line twice
            number += 1
            key = row_key("log", repr(entry), str(number))
        rows[key] = str(ui.rows("call_rows.html").log(_shown(key, entry)))
    link = ui.settings.log_link
    context = {
        "files": [str(path) for path in ui.logs.paths],
        "problems": found.problems,
        "link": "" if link is None else link.of(facts.record, facts.now_ms),
        "is_alone": is_alone,
        "is_whole": found.is_whole,
        "lines_max": LINES_MAX,
    }
    return [Region("logs", rows)], context


def _shown(key: str, entry: Entry) -> dict[str, Any]:
    return {
        **entry._asdict(),
        "key": key,
        "at": entry.at.replace("T", " ").removesuffix("Z")[:23],
        "kind": _LEVELS.get(entry.level, "calm"),
    }
