"""Commands that run in this process: exit code, output and errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Cli = Callable[..., tuple[int, str, str]]


def call(cli: Cli, *args: str) -> Any:
    """Run a command with --json; return the data that it prints."""
    code, out, err = cli(*args, "--json")
    assert code == 0, err
    return json.loads(out)
