"""Helpers for the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.bench.deployment import free_port


def eventually(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Poll until `condition()` is true and return its value; fail after `timeout_s`."""
    ends_at = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < ends_at, f"not within {timeout_s} s: {condition}"
        time.sleep(0.005)


def start_script(
    path: Path, source: str, *args: str, env: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start `source` as a script in a process of its own, with its output in pipes."""
    path.write_text(source)
    return subprocess.Popen(
        [sys.executable, str(path), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )


def finish(process: subprocess.Popen[str], timeout_s: float = 20.0) -> tuple[int, str, str]:
    """Wait for the end of a process; return exit code, standard output and standard error."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    finally:
        process.kill()
        process.communicate()
    return process.returncode, out, err


def free_url() -> str:
    """Return an address at which nothing listens."""
    return f"tcp://127.0.0.1:{free_port()}"
