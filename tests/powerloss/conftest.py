"""Fixtures that all of these tests need."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.powerloss.recorder import Recorder

try:
    Recorder(Path())
    reachable = True
except OSError:
    reachable = False


@pytest.fixture(autouse=True)
def recordable() -> None:
    """Skip the tests if SQLite cannot be recorded, except in CI, where they must run."""
    if not reachable and not os.environ.get("CI"):
        pytest.skip("this SQLite exports no functions")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder, in memory if possible: the tests simulate the disk; the real one is slow."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)
