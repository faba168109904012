"""Prometheus's `promtool`, which checks rules and tests them, from Debian's packages."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.services.debian import unpacked


def promtool() -> str:
    """Return the path of the program.

    Raises
    ------
    UnavailableError
    """
    found = shutil.which("promtool")
    if found is None:
        root = unpacked("prometheus", ["prometheus"], _keep_promtool)
        [found] = map(str, root.glob("usr/bin/promtool"))
    return found


def _keep_promtool(folder: Path, _cached: Path) -> None:
    """Remove everything else, which is most of the bytes."""
    for path in folder.rglob("*"):
        if path.name != "promtool" and not path.is_dir():
            path.unlink()
