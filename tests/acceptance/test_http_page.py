"""docs/http.md: its node runs, and each of its requests is answered as the page says."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.system import PATIENCE_S, System, open_system, until
from tests.acceptance.test_docs import blocks, programs, session
from tests.integration.sdk.edge.rig import port_of

PAGE = "docs/http.md"
ADDRESS = "127.0.0.1:8001"


def requests() -> list[tuple[str, str]]:
    """Return the commands of the page that send a request, each with what it prints."""
    console = [block for block in blocks(PAGE) if block.language == "console"]
    lines = [pair for block in console for pair in session(block.text)]
    return [(command, output) for command, output in lines if command.startswith("curl ")]


def has(shown: Any, wanted: Any) -> bool:
    """Return whether JSON data has what the page shows of it."""
    if isinstance(wanted, dict):
        return isinstance(shown, dict) and all(
            name in shown and has(shown[name], value) for name, value in wanted.items()
        )
    return bool(shown == wanted)


def test_the_requests_of_the_page(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        if os.environ.get("CI"):
            pytest.fail("no curl")
        pytest.skip("no curl")
    with open_system(tmp_path) as system:
        for group in ("shop", "parcels"):
            (tmp_path / f"{group}.py").write_text(programs()[PAGE, f"{group}.py"])
            system.command("node", f"{group}:runtime")
            until("the node is there", partial(system.nodes, group))
        port = port_of(system.command("edge", "--listen", "127.0.0.1:0"))
        for command, output in requests():
            words = shlex.split(command.replace(ADDRESS, f"127.0.0.1:{port}"))
            if "/resolve" in command:
                until("it asks", lambda: _asks(system))
            done = subprocess.run(words, capture_output=True, check=True, timeout=PATIENCE_S)
            if output:
                assert has(json.loads(done.stdout), json.loads(output)), (command, done.stdout)
            else:
                assert done.stdout == b"", command


def _asks(system: System) -> bool:
    """Return whether the function has made the promise, which it does once it has the price."""
    return any(system.runtime.promises.search(tags={"understudy:external": "true"}))
