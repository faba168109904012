"""The page of this moment: what stands still, and how busy everything is."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import QueryParams

from understudy.ui.facts import BrokerFacts
from understudy.ui.overview import GroupRow, overview
from understudy.ui.reading import read_now
from understudy.ui.row_changes import Region, row_key
from understudy.ui.sparkline import sparkline
from understudy.ui.throughput import SAMPLES
from understudy.ui.ui import Ui
from understudy.ui.view import View


async def now(ui: Ui, _query: QueryParams) -> View:
    """Show the state of the deployment."""
    assert ui.sampler is not None
    brokers = ui.sampler.brokers
    throughput = ui.sampler.throughput
    facts = await read_now(ui.port, brokers, throughput)
    assert facts is not None
    found = overview(facts)
    rows = ui.rows("now_rows.html")
    spark = sparkline(throughput.settled, SAMPLES)
    latest = throughput.settled[-3:]
    rate = rate_text(sum(latest) / len(latest)) if latest else "–"
    regions = [
        Region("headline", {"headline-row": str(rows.headline(found))}, "div"),
        Region("problems", {each.key: str(rows.problem(each)) for each in found.problems}, "div"),
        Region("numbers", {"numbers-row": str(rows.numbers(found, spark, rate))}, "div"),
        groups_region(ui, found.groups),
        Region("brokers", broker_lines(ui, brokers), "ul"),
    ]
    return View("now.html", found.headline, {"left_out": found.left_out}, regions, "/")


def groups_region(ui: Ui, groups: Sequence[GroupRow]) -> Region:
    """Return the rows of groups, with their nodes below them."""
    rows = ui.rows("now_rows.html")
    found: dict[str, str] = {}
    for group in groups:
        found[group.key] = str(rows.group(group))
        for node in group.nodes:
            found[node.key] = str(rows.node(node))
    return Region("groups", found)


def broker_lines(ui: Ui, brokers: Sequence[BrokerFacts]) -> dict[str, str]:
    """Return a line for each broker."""
    rows = ui.rows("list_rows.html")
    return {
        (key := row_key("broker", each.address)): str(
            rows.broker_line({**each._asdict(), "slots": len(each.slots), "key": key})
        )
        for each in brokers
    }


def rate_text(rate: float) -> str:
    """Return a number per second in few digits.

    Examples
    --------
    >>> rate_text(0.0), rate_text(2.34), rate_text(1234.5)
    ('0', '2.3', '1,234')
    """
    if rate == 0:
        return "0"
    return f"{rate:.1f}" if rate < 100 else f"{rate:,.0f}"
