"""docs/grpc.md: its node runs, and its programs print what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.acceptance.system import PATIENCE_S, open_system, until
from tests.acceptance.test_docs import PAGES, expected, programs
from tests.integration.sdk.edge.grpc.rig import grpc_port
from understudy.edge.grpc.graph_events import OVERLAP_MS
from understudy.edge.grpc.graph_watch import QUIET_S
from understudy.edge.grpc.server import requests_max
from understudy.edge.settings import EdgeSettings

PAGE = "docs/grpc.md"
ADDRESS = "127.0.0.1:8003"


def test_the_programs_of_the_page(tmp_path: Path) -> None:
    ours = {name: text for (page, name), text in programs().items() if page == PAGE}
    (tmp_path / "shop.py").write_text(ours.pop("shop.py"))
    with open_system(tmp_path) as system:
        system.command("node", "shop:runtime")
        until("the node is there", lambda: system.nodes("shop"))
        edge = system.command("edge", "--listen", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
        address = f"127.0.0.1:{grpc_port(edge)}"
        for name, text in ours.items():
            assert ADDRESS in text
            (tmp_path / name).write_text(text.replace(ADDRESS, address))
            done = subprocess.run(
                [sys.executable, name],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
            )
            assert done.returncode == 0, done.stderr
            assert done.stdout == expected(PAGE, name)


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
    assert f"is cut off after {settings.limits.write_timeout_s:g} s. The edge" in page
    assert re.search(r"5 minutes|five minutes", page)
    assert settings.limits.idle_s * 4 == 300
