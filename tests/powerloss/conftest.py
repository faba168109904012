"""What all of these tests need."""

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
    """Absent it may be where somebody works, but not where the proof is made."""
    if not reachable and not os.environ.get("CI"):
        pytest.skip("this SQLite exports no functions")


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where that can be: the disk is imagined, and the real one is slow."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)
