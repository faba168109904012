"""The page of brokers and slots."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from starlette.datastructures import QueryParams

from understudy.ui.facts import BrokerFacts
from understudy.ui.row_changes import Region, row_key
from understudy.ui.ui import Ui
from understudy.ui.view import View
from understudy_broker.server.placement import runs_text
from understudy_store.slots import SLOTS


async def brokers(ui: Ui, _query: QueryParams) -> View:
    """Show the brokers, their slots, and their numbers."""
    report = await ui.port.groups()  # so that nobody sees it who may not
    assert report is not None
    assert ui.sampler is not None
    rows = ui.rows("list_rows.html")
    found = {}
    for status in ui.sampler.brokers:
        row = _row(status)
        found[row["key"]] = str(rows.broker(row))
    numbers = {
        f"counter-{name}": str(ui.rows("counters.html").counter(name, count))
        for name, count in sorted(report.counters.items())
        if name.replace("_", "").isalnum()
    }
    regions = [Region("brokers", found), Region("counters", numbers, "dl")]
    return View("brokers.html", "Brokers and slots", {}, regions, "/brokers")


def _row(status: BrokerFacts) -> dict[str, Any]:
    spans = [
        (100 * first / SLOTS, 100 * (last - first + 1) / SLOTS)
        for first, last in _runs(status.slots)
    ]
    return {
        "key": row_key("broker", status.address),
        "name": status.name or "broker",
        "address": status.address,
        "answers": status.answers,
        "problem": status.problem,
        "slots": len(status.slots),
        "spans": spans,
        "runs": runs_text(status.slots) or "none",
        "peers": "–" if status.peers is None else status.peers,
    }


def _runs(slots: Sequence[int]) -> list[tuple[int, int]]:
    """Return runs of slots: first and last."""
    if not slots:
        return []
    breaks = [index for index, (one, other) in enumerate(pairwise(slots), 1) if other != one + 1]
    starts, ends = [0, *breaks], [*breaks, len(slots)]
    return [(slots[start], slots[end - 1]) for start, end in zip(starts, ends, strict=True)]
