"""Packages of other projects, each in an environment of its own, in the cache of the tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zlib
from functools import partial
from pathlib import Path
from typing import Final

from tests.services.cache import UnavailableError, fetched

#: how long an installation may take
_PATIENCE_S: Final = 300


def python_with(name: str, *arguments: str) -> str:
    """Return a Python of at least 3.12 in an environment, which is made if need be.

    Parameters
    ----------
    name
        That of the environment's folder; it says what is in it.
    arguments
        For ``pip install``.

    Raises
    ------
    UnavailableError
        There is no such Python, or no way to install the packages.
    """
    folder = fetched(name, partial(_fill_python, arguments))
    return str(folder / "bin/python")


def node_with(package: str) -> Path:
    """Return a folder in which Node finds a package, which is installed if need be.

    Raises
    ------
    UnavailableError
        There is no npm, or no way to install the package.
    """
    return _node(package.replace("/", "-"), '{"private": true}', package)


def node_project(manifest: str) -> Path:
    """Return a folder in which Node finds what a ``package.json`` names; raises as `node_with`."""
    return _node(f"node-{zlib.crc32(manifest.encode()):08x}", manifest)


def _node(name: str, manifest: str, *packages: str) -> Path:
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise UnavailableError("there is no Node with npm here")
    return fetched(name, partial(_fill_node, manifest, packages))


def _fill_python(arguments: tuple[str, ...], folder: Path) -> None:
    _run(_python(), "-m", "venv", str(folder), cwd=folder.parent)
    _run(str(folder / "bin/python"), "-m", "pip", "install", "-q", *arguments, cwd=folder)


def _fill_node(manifest: str, packages: tuple[str, ...], folder: Path) -> None:
    (folder / "package.json").write_text(manifest)
    _run("npm", "install", "--no-audit", "--no-fund", *packages, cwd=folder)


def _run(*command: str, cwd: Path) -> None:
    try:
        subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=_PATIENCE_S, check=True
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{' '.join(command)}: not in {_PATIENCE_S} s") from None
    except subprocess.CalledProcessError as error:
        told = f"{error.stdout[-500:]}{error.stderr[-500:]}"
        raise UnavailableError(f"{' '.join(command)}: {told}") from None


def _python() -> str:
    """Return a Python of at least 3.12."""
    found = [sys.executable] if sys.version_info >= (3, 12) else []
    found += filter(None, (shutil.which(f"python3.{minor}") for minor in (12, 13, 14)))
    versions = Path.home() / ".pyenv/versions"
    found += [str(path) for path in sorted(versions.glob("3.1[2-9]*/bin/python"))]
    for python in found:
        # A version manager may put names on the path that only print an error.
        done = subprocess.run([python, "--version"], capture_output=True, check=False)
        if done.returncode == 0:
            return python
    raise UnavailableError("there is no Python 3.12 or later here")
