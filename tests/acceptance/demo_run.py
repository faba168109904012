"""A demo in a process of its own, for tests that look at what it prints and what it leaves."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: seconds after which a demo counts as hung; they need fifteen to forty
PATIENCE_S = 180


class Run:
    """One run of a demo, with a folder of its own for temporary files."""

    def __init__(self, folder: Path, arguments: list[str]) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        self._out, self._err = folder.parent / "out.txt", folder.parent / "err.txt"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(folder), "UNDERSTUDY_TEST_MARK": self.mark},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def out(self) -> str:
        return self._out.read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text(encoding="utf-8")

    def ends_with(self, code: int) -> None:
        """Wait for the end; check the exit code, and that all processes have ended."""
        found = self.process.wait(PATIENCE_S)
        assert found == code, self.out + self.err
        assert self.processes() == []

    def processes(self) -> list[str]:
        """Return the running processes that this run has started, however indirectly."""
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark.encode() in environ.read_bytes():
                    found.append(environ.with_name("cmdline").read_bytes().decode())
            except OSError:  # it has ended, or belongs to another user
                continue
        return found

    def tells(self, patterns: Sequence[str]) -> None:
        """Check that lines which match the patterns were printed, in this order."""
        rest = iter(self.out.splitlines())
        for pattern in patterns:
            # `any` consumes the lines up to the match, so the order counts.
            assert any(re.search(pattern, line) for line in rest), f"{pattern}\n{self.out}"


def empty_folder(tmp_path: Path) -> Path:
    """Make a folder for a run; skip the test where one cannot see which processes are left."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("needs /proc, to see which processes are left")
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder
