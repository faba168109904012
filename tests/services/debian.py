"""Debian's packages, unpacked into a folder: no installation, no root, no service that starts."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.services.cache import UnavailableError, cache_folder, fetched

#: seconds that a package manager may take
_PATIENCE_S = 240


def unpacked(
    name: str, packages: Sequence[str], prepare: Callable[[Path, Path], None] | None = None
) -> Path:
    """Return a folder with the files of packages and of what they need and the machine lacks.

    Parameters
    ----------
    prepare
        Changes files once, given the folder where they are and the one where they will be.

    Raises
    ------
    UnavailableError
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise UnavailableError(f"{name} is not installed, and this machine has no apt-get")

    def fetch(folder: Path) -> None:
        debs = folder / "debs"
        debs.mkdir()
        wanted = _with_dependencies(packages)
        if not _download(wanted, debs):
            # The lists of packages may be old, or not be there at all.
            _run(["apt-get", "update"], folder)
            wanted = _with_dependencies(packages)
            if not _download(wanted, debs):
                raise UnavailableError(f"apt-get has no packages {' '.join(wanted)}")
        for deb in debs.glob("*.deb"):
            unpack = _run(["dpkg", "-x", str(deb), str(folder)], folder)
            if unpack.returncode:
                raise UnavailableError(unpack.stderr)
        shutil.rmtree(debs)
        if prepare is not None:
            prepare(folder, cache_folder() / name)

    return fetched(name, fetch)


def _with_dependencies(packages: Sequence[str]) -> list[str]:
    """Return the packages that an installation would add; those themselves if that is unknown."""
    planned = _run(["apt-get", "install", "-s", "--no-install-recommends", *packages], Path("/"))
    found = [line.split()[1] for line in planned.stdout.splitlines() if line.startswith("Inst ")]
    return sorted({*found, *packages})


def _download(packages: Sequence[str], folder: Path) -> bool:
    return _run(["apt-get", "download", *packages], folder).returncode == 0


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        stdin=subprocess.DEVNULL,
    )


def libraries(root: Path) -> str:
    """Return the search path of the libraries in such a folder."""
    return os.pathsep.join(str(path) for path in sorted((root / "usr" / "lib").glob("*-linux-*")))
