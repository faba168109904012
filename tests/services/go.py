"""Programs that the tests build by Go, from its module proxy; two minutes for a large one, once."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.services.cache import UnavailableError, fetched

#: how long a build may take
_PATIENCE_S: Final = 900


def has_go() -> bool:
    """Return whether programs can be built here."""
    return shutil.which("go") is not None


def built(name: str, package: str) -> str:
    """Return the path of a program: one that is installed, else one that is built, once.

    Parameters
    ----------
    package
        The package of its main function, with a version: ``example.org/cmd/tool@v1.2.3``.

    Raises
    ------
    UnavailableError
        It is not installed and cannot be built.
    """
    found = shutil.which(name)
    if found is not None:
        return found
    if not has_go():
        raise UnavailableError(f"{name} is not installed, and there is no Go here to build it")

    def build(folder: Path) -> None:
        own = {"GOBIN": str(folder), "CGO_ENABLED": "0", "GOFLAGS": "-trimpath"}
        try:
            done = subprocess.run(
                ["go", "install", package],
                env=os.environ | own,
                capture_output=True,
                text=True,
                timeout=_PATIENCE_S,
            )
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"{package}: not built in {_PATIENCE_S} s") from None
        if done.returncode:
            raise UnavailableError(f"go install {package}: {done.stderr[-1000:]}")

    return str(fetched(f"{name}-{package.rpartition('@')[2]}", build) / name)
