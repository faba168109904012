"""docs/grpc.md: its commands run, and its programs print what the page says."""

from __future__ import annotations

import re
from pathlib import Path

from tests.acceptance.page_run import open_page
from tests.acceptance.system import until
from tests.acceptance.test_docs import PAGES, expected, programs
from understudy.edge.grpc.graph_events import OVERLAP_MS
from understudy.edge.grpc.graph_watch import QUIET_S
from understudy.edge.grpc.server import requests_max
from understudy.edge.settings import EdgeSettings

PAGE = "docs/grpc.md"


def test_the_programs_of_the_page(tmp_path: Path) -> None:
    ours = {name: text for (page, name), text in programs().items() if page == PAGE}
    (tmp_path / "shop.py").write_text(ours.pop("shop.py"))
    with open_page(PAGE, tmp_path) as run:
        broker = next(each for each in run.commands if each.endswith("understudy broker"))
        run.start(broker, f"understudy edge: grpc://{run.place('8003')}")
        run.start(run.one("understudy node"))
        until("the node is there", lambda: run.nodes("shop"))
        for name, text in ours.items():
            run.write(name, text)
            assert run.run(f"python {name}") == expected(PAGE, name)
        run.start(run.one("understudy edge"), f"understudy edge: grpc://{run.place('8013')}")


def test_the_bounds_of_the_page() -> None:
    page = PAGES[PAGE]
    settings = EdgeSettings("", "", 0)
    assert f"| streams that watch a graph | {settings.streams_max:,}; " in page
    assert f"| requests that wait | {settings.waiting_max:,} |" in page
    assert f"| connections | {settings.limits.connections_max:,} |" in page
    assert f"| requests under way | {requests_max(settings):,}, " in page
    assert f"\n{QUIET_S:g} s while nothing happens" in page
    assert "in the minute before it" in page
    assert OVERLAP_MS == 60_000
    assert f"is cut off after {settings.limits.write_timeout_s:g} s. Until then" in page
    assert re.search(r"5 minutes|five minutes", page)
    assert settings.limits.idle_s * 4 == 300
