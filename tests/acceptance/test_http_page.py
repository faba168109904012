"""docs/http.md: its commands run, and each of its requests is answered as the page says."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.page_run import EDGE_PORT, PageRun, open_page
from tests.acceptance.system import until
from tests.acceptance.test_docs import blocks, programs

PAGE = "docs/http.md"


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
    with open_page(PAGE, tmp_path) as run:
        edge = f"understudy edge: http://{run.place(EDGE_PORT)}"
        run.start(run.one("understudy broker"), edge)
        for group in ("shop", "parcels"):
            run.write(f"{group}.py", programs()[PAGE, f"{group}.py"])
            run.start(f"understudy node {group}:runtime")
            until("the node is there", partial(run.nodes, group))
        for command, output in run.session:
            if not command.startswith("curl "):
                continue
            if "/resolve" in command:
                until("it asks", lambda: _asks(run))
            printed = run.run(command)
            if output:
                assert has(json.loads(printed), json.loads(output)), (command, printed)
            else:
                assert printed == "", command


def test_the_other_edges_of_the_page(tmp_path: Path) -> None:
    """They start beside the one that the broker keeps."""
    hooks = next(block.text for block in blocks(PAGE) if "[[hook]]" in block.text)
    (tmp_path / "hooks.toml").write_text(hooks)
    with open_page(PAGE, tmp_path) as run:
        secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        run.environment |= {"GITHUB_SECRET": secret, "STRIPE_SECRET": secret}
        edge = f"understudy edge: http://{run.place(EDGE_PORT)}"
        run.start(run.one("understudy broker"), edge)
        others = [each for each in run.commands if each.startswith("understudy edge")]
        assert len(others) == 2
        for command in others:
            run.start(command, f"understudy edge: http://{run.place('8011')}").kill()


def _asks(run: PageRun) -> bool:
    """Return whether the function has made the promise, which it does once it has the price."""
    return any(run.runtime.promises.search(tags={"understudy:external": "true"}))
