"""Trials of mutants: a copy of the tree with one fault in it, and the tests that must notice."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

from tests.mutants.mutant import Mutant, Unfit
from tests.mutants.places import FLOORS, ROOT, Tree

#: The files of the tree that tests need.
_COPIED: Final = (*FLOORS, "tests", "examples", "benchmarks", "docs", "pyproject.toml", "uv.lock")
#: A test that hangs counts as a failure. The named tests take a few seconds.
LIMIT_S: Final = 120.0
WIDE_LIMIT_S: Final = 1200.0
_PYTEST: Final = ("-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider")
#: Run if the named tests notice nothing.
_WIDE: Final = (
    (*_PYTEST, "--hypothesis-seed=0", "tests/unit", "tests/differential"),
    ("-m", "tests.simulation", "--seeds", "200"),
)
_SIMULATOR: Final = "the simulator"
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
#: Exit codes of pytest.
_ALL_PASSED, _SOME_FAILED = 0, 1

Verdict: TypeAlias = Literal["killed", "survived", "unfit"]


class Trial(NamedTuple):
    """The outcome of one mutant.

    Attributes
    ----------
    verdict
        ``unfit`` if the mutant could not be tried, because it no longer fits the code or the tests
        could not begin.
    by
        The test that noticed the fault, or the reason why it could not be tried.
    wide
        Whether only the run of all tests noticed it.
    """

    mutant: Mutant
    verdict: Verdict
    by: str
    seconds: float
    wide: bool = False


class _Ended(NamedTuple):
    """The end of a process; `code` is None if it took too long."""

    code: int | None
    output: str

    @property
    def by(self) -> str:
        """The test that noticed the fault."""
        found = _FAILED.search(self.output)
        return "the time limit" if self.code is None else found[1] if found else _SIMULATOR


class Copy:
    """A copy of the tree, in which faults do no harm.

    Parameters
    ----------
    folder
        The folder to copy to: empty or new.
    root
        The tree to copy.
    """

    def __init__(self, folder: Path, root: Path = ROOT) -> None:
        self._root = folder
        self._tree = Tree(folder)
        self._applied = 0
        ignored = shutil.ignore_patterns("__pycache__", "*.db*")
        for name in _COPIED:
            source = root / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=ignored)
            elif source.exists():
                shutil.copy2(source, folder / name)

    def check(self, tests: Sequence[str]) -> str | None:
        """Return the failures without any fault, because then no other failure would mean much."""
        ended = self._run(("-c", "import understudy_store; print(understudy_store.__file__)"), 60)
        if not ended.output.startswith(str(self._root)):
            return f"the tests would not import the copy but {ended.output.strip()}"
        ended = self._pytest(tests, WIDE_LIMIT_S)
        return None if ended.code == _ALL_PASSED else ended.output

    def attempt(self, mutant: Mutant, *, wide: bool) -> Trial:
        """Apply a fault, run its tests, and undo it; if `wide`, run all tests if those pass."""
        began = time.monotonic()
        try:
            mutated = mutant.applied(self._tree)
        except Unfit as error:
            return Trial(mutant, "unfit", str(error), 0.0)
        path = self._root / mutated.file
        before, stat = path.read_bytes(), path.stat()
        path.write_text(mutated.after)
        # Python recompiles a module if its size or its second of change differs. Two mutants may
        # agree in both, so each gets a second of its own.
        self._applied += 1
        os.utime(path, (stat.st_atime, int(stat.st_mtime) + self._applied))
        try:
            trial = self._judged(mutant, began, wide)
        finally:
            path.write_bytes(before)
            os.utime(path, (stat.st_atime, stat.st_mtime))
        return self._confirmed(trial) if trial.wide else trial

    def _confirmed(self, trial: Trial) -> Trial:
        """Check that the test which failed in the wide run passes without the fault.

        The named tests were checked at the start, the wide ones were not.
        """
        if trial.by == _SIMULATOR:
            ended = self._run(_WIDE[-1], WIDE_LIMIT_S)
        else:
            ended = self._pytest([trial.by], WIDE_LIMIT_S)
        if ended.code == _ALL_PASSED:
            return trial
        return trial._replace(verdict="unfit", by=f"also fails without it:\n{ended.output}")

    def _judged(self, mutant: Mutant, began: float, wide: bool) -> Trial:
        ended = self._pytest(mutant.tests, LIMIT_S)
        if ended.code in (None, _SOME_FAILED):
            return Trial(mutant, "killed", ended.by, time.monotonic() - began)
        if ended.code != _ALL_PASSED:
            return Trial(mutant, "unfit", ended.output, time.monotonic() - began)
        for arguments in _WIDE if wide else ():
            ended = self._run(arguments, WIDE_LIMIT_S)
            if ended.code != _ALL_PASSED:
                return Trial(mutant, "killed", ended.by, time.monotonic() - began, wide=True)
        return Trial(mutant, "survived", "", time.monotonic() - began)

    def _pytest(self, tests: Sequence[str], limit_s: float) -> _Ended:
        return self._run((*_PYTEST, "--hypothesis-seed=0", *tests), limit_s)

    def _run(self, arguments: Sequence[str], limit_s: float) -> _Ended:
        folders = [str(self._root / floor) for floor in FLOORS]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*folders, str(self._root)])}
        # Examples that hypothesis has found for one fault mean nothing for the next.
        shutil.rmtree(self._root / ".hypothesis", ignore_errors=True)
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self._root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            return _Ended(None, "")
        finally:
            if process.poll() is None:
                # The whole group, because tests start processes.
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        return _Ended(process.returncode, output)
