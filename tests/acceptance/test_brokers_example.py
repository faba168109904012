"""The example of two brokers: started with `up`, called by its own program, seen by commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.acceptance.system import PATIENCE_S, Program, until
from tests.support import free_url

EXAMPLE = Path(__file__).parents[2] / "examples" / "brokers"


def run(folder: Path, url: str, *args: str) -> str:
    """Run a Python program that ends by itself, and return its output."""
    done = subprocess.run(
        [sys.executable, *args],
        cwd=folder,
        env={**os.environ, "UNDERSTUDY_URL": url},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_orders_are_shared_out_over_two_brokers(tmp_path: Path) -> None:
    folder = tmp_path / "brokers"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("*.db*", "__pycache__"))
    a, b = free_url(), free_url()
    file = folder / "topology.toml"
    text = file.read_text(encoding="utf-8")
    for usual, free in (("tcp://127.0.0.1:5577", a), ("tcp://127.0.0.1:5578", b)):
        assert usual in text
        text = text.replace(usual, free)
    file.write_text(text, encoding="utf-8")
    env = {"UNDERSTUDY_URL": ""}
    up = Program([sys.executable, "-m", "understudy", "up"], tmp_path / "log", env, folder)
    try:
        until("all is up", lambda: f"up: brokers a, b at {a},{b}, orders 2 nodes" in up.output)
        expected = [f"order-{n} costs {30 + 10 * n}" for n in range(10)]
        assert run(folder, a, "customers.py").splitlines() == expected
        # Again, from the other broker's address: the results come from the stores.
        assert run(folder, b, "customers.py").splitlines() == expected
        rows = json.loads(run(folder, a, "-m", "understudy", "brokers", "--json"))
        assert [(row["name"], row["address"], row["nodes"]) for row in rows] == [
            ("a", a, 2),
            ("b", b, 2),
        ]
        assert all(row["commits"] > 0 for row in rows)
    finally:
        up.kill()
    assert {path.name for path in folder.glob("*.db")} == {"understudy-a.db", "understudy-b.db"}
