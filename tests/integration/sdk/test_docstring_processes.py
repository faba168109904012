"""Examples of public docstrings that start processes or wait for signals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.unit.sdk.public_docs import IN_A_PROCESS, WITH_EXAMPLES
from understudy_broker.server.embedded import EmbeddedBroker

ROOT: Final = Path(__file__).parents[3]
PATIENCE_S: Final = 120


def test_examples_that_need_a_process_of_their_own() -> None:
    assert set(WITH_EXAMPLES) >= IN_A_PROCESS
    with EmbeddedBroker() as broker:
        done = subprocess.run(
            # the one that waits for a signal changes the whole process, so it comes last
            [sys.executable, "-m", "tests.unit.sdk.public_docs", *sorted(IN_A_PROCESS)[::-1]],
            cwd=ROOT,
            env={**os.environ, "UNDERSTUDY_URL": broker.endpoint},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
