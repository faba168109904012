"""The cache of programs that the tests fetch: filled once for each machine, by one process."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path


class UnavailableError(Exception):
    """A server can be neither found nor fetched; the message says why."""


def cache_folder() -> Path:
    """Return the folder, which outlives a checkout."""
    base = os.environ.get("UNDERSTUDY_TEST_CACHE")
    if base:
        return Path(base)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "understudy-tests"


def fetched(name: str, fetch: Callable[[Path], None]) -> Path:
    """Return a folder of the cache, which `fetch` fills if it is not there.

    Other processes that want the same one wait. A folder that was not filled to the end is made
    anew.
    """
    folder = cache_folder() / name
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder
        part = folder.with_name(f"{name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        fetch(part)
        part.rename(folder)
    return folder
