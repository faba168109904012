"""The contracts about imports are themselves tested: each of them must find what breaks it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = ("store", "broker", "actors", "sdk")
TYPE_CHECKING = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "


@pytest.mark.parametrize(
    ("contract", "file", "statement", "found"),
    [
        (
            "cores",
            "store/understudy_store/machine/__init__.py",
            "import time",
            "understudy_store.machine -> time",
        ),
        (
            "cores",
            "broker/understudy_broker/core/dispatcher.py",
            "from random import random",
            "understudy_broker.core.dispatcher -> random",
        ),
        (
            "cores",
            "actors/understudy_actors/interpreter/__init__.py",
            "import zmq",
            "understudy_actors.interpreter -> zmq",
        ),
        (
            "cores",
            "actors/understudy_actors/node/core.py",
            "import threading",
            "understudy_actors.node.core -> threading",
        ),
        (
            "broker-cores",
            "broker/understudy_broker/link/heartbeat.py",
            f"{TYPE_CHECKING}import understudy_broker.server.logs",
            "understudy_broker.link.heartbeat -> understudy_broker.server.logs",
        ),
        (
            "floors",
            "store/understudy_store/store.py",
            "import understudy_broker.clock",
            "understudy_store.store -> understudy_broker.clock",
        ),
        (
            "circles",
            "broker/understudy_broker/transport/polling.py",
            f"{TYPE_CHECKING}import understudy_broker.transport.socket",
            "understudy_broker.transport",
        ),
        (
            "circles",
            "broker/understudy_broker/transport/polling.py",
            "import understudy_broker.link.link",
            ".transport -> .link",
        ),
        (
            "package-circles",
            "actors/understudy_actors/executor/results.py",
            f"{TYPE_CHECKING}from understudy_actors.executor import Executor",
            "understudy_actors.executor.results -> understudy_actors.executor",
        ),
    ],
)
def test_a_forbidden_import_is_found(
    contract: str, file: str, statement: str, found: str, tmp_path: Path
) -> None:
    for floor in FLOORS:
        shutil.copytree(
            ROOT / floor, tmp_path / floor, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ours = tmp_path / "tests" / "structure"
    ours.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "structure" / "import_contracts.py", ours)
    with (tmp_path / file).open("a") as source:
        source.write(f"\n{statement}\n")
    run = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--contract", contract],
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(str(tmp_path / floor) for floor in FLOORS)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert found in " ".join(run.stdout.split()), run.stdout
