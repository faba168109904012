"""What the tests of the files to deploy by have in common: commands, and where health is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import typer

from understudy.cli.app import app as command_line

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
#: paths that a listener for metrics answers
HEALTH_PATHS: Final = {"/metrics", "/health", "/ready", "/live"}
#: how long nodes let functions finish
DRAIN_S: Final = 10


def parsed(words: list[str]) -> dict[str, Any]:
    """Return the parameters of a command as the real command line reads them.

    Raises
    ------
    typer.TyperException
        A command or an option does not exist, or a value is none.
    """
    found: Any = typer.main.get_command(command_line)
    rest = list(words)
    while hasattr(found, "get_command"):
        context = found.make_context("understudy", [], resilient_parsing=True)
        command = found.get_command(context, rest[0])
        assert command is not None, f"there is no command in: {words}"
        found, rest = command, rest[1:]
    params: dict[str, Any] = found.make_context("understudy", rest).params
    return params
