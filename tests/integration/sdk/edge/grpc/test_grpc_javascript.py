"""A client in another language, which knows nothing but the .proto."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final, NoReturn

import pytest

import understudy
from tests.integration.sdk.edge.grpc.rig import Grpc

CLIENT: Final = Path(__file__).parent / "node"
PROTO: Final = Path(understudy.__file__).parent / "edge" / "grpc" / "v1" / "understudy.proto"


@pytest.fixture
def client(tmp_path: Path) -> Path:
    """The client, with the packages that it needs.

    Where they cannot be installed, the test is skipped; in CI that is a failure.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        _without("no Node.js: install node and npm")
    for path in CLIENT.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    done = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode != 0:
        _without(f"npm installs nothing: {done.stderr[-300:]}")
    return tmp_path / "client.js"


def _without(why: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def test_a_client_in_javascript(rig: Grpc, client: Path) -> None:
    done = subprocess.run(
        ["node", client, f"127.0.0.1:{rig.port}", PROTO],
        cwd=client.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert said[:4] == [
        {"state": "STATE_RESOLVED", "value": 42, "whole": True},
        {"big": "9007199254740993"},
        {"state": "STATE_REJECTED", "error": "ValueError: no stock"},
        {
            "code": "NOT_FOUND",
            "details": (
                "no node of group shop has the function ad; similar: add. Add unknown=wait to "
                "have the call wait for a node that has it"
            ),
        },
    ]
    assert sorted(said[4]) == [
        'end {"answer":"yes"}',
        "js-approve STATE_PENDING",
        "js-approve STATE_RESOLVED",
        "js-approve.answer STATE_PENDING",
        "js-approve.answer STATE_RESOLVED",
    ]
    assert said[5] == ["js-approve", "js-sum"]
