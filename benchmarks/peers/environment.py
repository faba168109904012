"""Environments of peers: made once, under ``.envs``, each with only the packages of its peer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from benchmarks.harness import SubjectError

FOLDER: Final = Path(__file__).with_name(".envs")
INSTALL_S: Final = 900.0
#: Lines of a failed command's output that an error shows.
TAIL: Final = 5


class Environment:
    """A virtual environment with `packages`, and a folder with `node_packages` of npm."""

    def __init__(
        self, name: str, packages: tuple[str, ...], node_packages: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.packages = packages
        self.node_packages = node_packages
        self.path = FOLDER / name
        self._stamp = self.path / "installed.json"

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    def ready(self) -> None:
        """Install what is missing.

        Raises
        ------
        SubjectError
            It cannot be installed; says why.
        """
        wanted = [sys.version, list(self.packages), list(self.node_packages)]
        if self._stamp.exists() and json.loads(self._stamp.read_text()) == wanted:
            return
        print(f"· installing {self.name}", file=sys.stderr, flush=True)
        shutil.rmtree(self.path, ignore_errors=True)
        venv.create(self.path, with_pip=True)
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        self._do([*pip, *self.packages])
        if self.node_packages:
            npm = shutil.which("npm")
            if npm is None:
                raise SubjectError(f"{self.name} needs npm: install Node.js")
            self._do([npm, "install", "--silent", f"--prefix={self.path}", *self.node_packages])
        self._stamp.write_text(json.dumps(wanted))

    def versions(self, names: tuple[str, ...]) -> dict[str, str]:
        """Return the versions of packages that are installed there."""
        script = (
            "import json, sys; from importlib.metadata import version\n"
            "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
        )
        command = [str(self.python), "-c", script, *names]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found: dict[str, str] = json.loads(done.stdout)
        for package in self.node_packages:
            about = self.path / "node_modules" / package / "package.json"
            found[package] = json.loads(about.read_text())["version"]
        return found

    def _do(self, command: list[str]) -> None:
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=INSTALL_S, cwd=self.path
            )
        except subprocess.TimeoutExpired:
            raise SubjectError(f"installing {self.name} took more than {INSTALL_S:.0f} s") from None
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()[-TAIL:]
            raise SubjectError(f"{self.name} cannot be installed: " + " / ".join(lines))
