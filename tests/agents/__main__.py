"""Runs the agents in child processes: once to the end, and once killed after calls of a tool.

``make agents`` installs the libraries and runs this.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.agents.app import AGENTS

#: Seconds that a child may take to its next call of a tool: it imports a library first.
PATIENCE_S = 60.0
#: processes of an agent that are killed
KILLS = 3


def _start(name: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.agents.app", name, str(folder / "calls.db")],
        env={**os.environ, "LEDGER": str(folder / "ledger")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _calls(folder: Path) -> list[str]:
    ledger = folder / "ledger"
    return ledger.read_text().split() if ledger.exists() else []


def _run(name: str, kills: int) -> tuple[list[int], Counter[str]]:
    """Run an agent; return its result, and how often each call of a tool was performed."""
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        printed = ""
        for left in range(kills, -1, -1):
            before = len(_calls(folder))
            process = _start(name, folder)
            ends_at = time.monotonic() + PATIENCE_S
            while left and process.poll() is None and len(_calls(folder)) == before:
                assert time.monotonic() < ends_at, f"{name} makes no call"
                time.sleep(0.001)
            if left and process.poll() is None:
                process.kill()
            printed, said = process.communicate(timeout=PATIENCE_S)
            if process.returncode == 0:
                break
            assert left, f"{name} has failed: {said}"
        return json.loads(printed), Counter(_calls(folder))


def main() -> int:
    """Run all agents; return the number of those that went wrong."""
    wrong = 0
    for agent, expected in AGENTS.items():
        name = agent.__name__
        result, calls = _run(name, kills=0)
        again, repeated = _run(name, kills=KILLS)
        # A call that was killed after its line in the ledger, and before its result was stored, is
        # made once more.
        right = result == again == expected and set(repeated) == set(calls)
        wrong += not right
        print(
            f"{name}: {result}, {len(calls)} calls; killed up to {KILLS} times: {again}, "
            f"{repeated.total()} calls: {'right' if right else 'WRONG'}"
        )
    return wrong


if __name__ == "__main__":
    sys.exit(main())
