"""SDKs of the Resonate protocol as judges: they play their cases against an edge, and beside ours.

Each needs an environment of its own, which is made once: a Python of at least 3.12 with the SDK, or
Node with npm. Where that cannot be had, the tests are skipped; in CI that is a failure.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from tests.integration.sdk.edge.resonate.world import World
from tests.services.fixture import required
from tests.services.packages import node_with, python_with
from understudy import RemoteError, Runtime

JUDGES: Final = Path(__file__).parent / "judges"
TYPESCRIPT: Final = "@resonatehq/sdk@0.11.5"
PATIENCE_S: Final = 60
LOAD: Final = 100

PYTHON_CASES: Final = {
    "run": 3,
    "run again": 3,
    "rpc": 7,
    "flow": 1124,
    "run flow": 1124,
    "ours": 42,
    "bare address": 8,
    "calls ours": 21,
    "there and back": 5,
    "echo": True,
    "ours echo": True,
    "fails": "ValueError: no such order",
    "ours fails": "ApplicationError: the well is dry",
    "sees ours fail": "the well is dry",
    "deep": 8,
    "by keyword": "hello you",
    "gate": "open",
    "detached": 3,
    "load": LOAD * (LOAD - 1),
    "load of flows": sum(2 * (n + 11) + 1100 for n in range(LOAD // 2)),
    "end": None,
}
LEGACY_CASES: Final = {
    "rpc": 7,
    "rpc again": 7,
    "run": 1124,
    "flow": 1124,
    "ours": 42,
    "calls ours": 21,
    "there and back": 5,
    "echo": True,
    "ours echo": True,
    "ours fails": "the well is dry",
    "sees ours fail": "the well is dry",
    "deep": 6,
    "load": 20 * 19,
    "load of flows": sum(2 * (n + 11) + 1100 for n in range(20)),
    "end": None,
}
TYPESCRIPT_CASES: Final = {
    "run": 3,
    "rpc": 7,
    "flow": 1124,
    "run flow": 1124,
    "ours": 42,
    "calls ours": 21,
    "echo": True,
    "ours echo": True,
    "fails": "TypeError: no such order",
    "ours fails": "RuntimeError: the well is dry",
    "sees ours fail": "RuntimeError: the well is dry",
    "deep": 8,
    "gate": "open",
    "load": LOAD * (LOAD - 1),
    "load of flows": sum(2 * (n + 11) + 1100 for n in range(LOAD // 2)),
    "end": None,
}


def python_of(version: str) -> str:
    """Return a Python that has a version of the SDK."""
    return python_with(f"resonate-sdk-{version}", f"resonate-sdk=={version}")


class Judge:
    """An SDK's process: it has played its cases, and goes on serving its group."""

    def __init__(self, *command: str, cwd: Path) -> None:
        self._process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def verdict(self) -> dict[str, Any]:
        """Return the results of all cases, by their names."""
        found: dict[str, Any] = {}
        assert self._process.stdout is not None
        while "end" not in found:
            line = self._process.stdout.readline()
            if not line:
                break
            told = json.loads(line)
            found[told["case"]] = told["result"]
        return found

    def stop(self) -> str:
        """End it; return what it has complained of."""
        try:
            return self._process.communicate("\n", timeout=PATIENCE_S)[1]
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.communicate()[1]


@pytest.fixture(params=["0.8.1", "0.7.4"])
def python_judge(request: pytest.FixtureRequest, world: World) -> Iterator[Judge]:
    python = required(lambda: python_of(request.param))
    script = str(JUDGES / "python_sdk.py")
    judge = Judge(python, script, world.url, f"py{request.param}-", str(LOAD), cwd=JUDGES)
    yield judge
    judge.stop()


def test_the_python_sdk(python_judge: Judge, world: World) -> None:
    assert python_judge.verdict() == PYTHON_CASES
    with Runtime("callers", url=world.broker) as runtime:
        theirs = runtime.options(target="theirs", timeout=PATIENCE_S)
        prefix = f"ours-{id(python_judge)}"
        assert theirs.rpc(f"{prefix}-add", "add", 1, 2).result() == 3
        assert theirs.rpc(f"{prefix}-kw", "add", a=1, b=2).result() == 3
        assert theirs.rpc(f"{prefix}-flow", "flow", 1).result() == 1124
        with pytest.raises(RemoteError, match="no such order"):
            theirs.rpc(f"{prefix}-fails", "fails").result()
        ours = runtime.options(target="ours", timeout=PATIENCE_S)
        assert ours.rpc(f"{prefix}-graph", "calls_theirs", 4).result() == 10
        seen = ours.rpc(f"{prefix}-sees", "sees_theirs_fail").result()
        assert "no such order" in seen


def test_the_typescript_sdk(world: World) -> None:
    folder = required(lambda: node_with(TYPESCRIPT))
    script = folder / "typescript_sdk.mjs"
    shutil.copy(JUDGES / script.name, script)
    judge = Judge("node", str(script), world.url, "ts-", str(LOAD), cwd=folder)
    try:
        found = judge.verdict()
    finally:
        print(judge.stop())
    assert found == TYPESCRIPT_CASES


@pytest.mark.parametrize("version", ["0.6.7", "0.5.0"])
def test_the_python_sdks_of_the_older_rest(version: str, world: World) -> None:
    """They call functions of each other's and of ours, at ``poll://group`` as the seeds do."""
    python = required(lambda: python_of(version))
    assert world.poll_port is not None
    port = str(urlsplit(world.url).port)
    judge = Judge(
        python, str(JUDGES / "legacy_sdk.py"), version, port, str(world.poll_port),
        f"v{version}-", "20", cwd=JUDGES,
    )  # fmt: skip
    try:
        found = judge.verdict()
        with Runtime("callers", url=world.broker) as runtime:
            theirs = runtime.options(target="theirs", timeout=PATIENCE_S)
            assert theirs.rpc(f"ours-{version}", "flow", 1).result() == 1124
    finally:
        print(judge.stop())
    assert found == LEGACY_CASES
