"""Install the wheel into a fresh environment of each Python, and run the README's program there.

make wheel-test builds the wheel of this tree. For each version that it says it supports, it is
installed by its name with the extras of the dashboard and of HTTP, and the newest releases of what
it needs, as a user's `pip install` takes them. Then the program of the README runs alone, and as
two nodes of a broker, one of which is killed in the middle.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.acceptance.system import Program, until
from understudy.bench.deployment import free_port

ROOT: Final = Path(__file__).parents[2]
_UV: Final = str(Path(sys.executable).with_name("uv"))
_INSTALL_S: Final = 300.0


def supported() -> list[str]:
    """Return the versions of Python that the project says it supports."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)


def readme_program() -> str:
    """Return the program of the README, with shorter sleeps."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(# file: app\.py\n.*?)```", text, re.DOTALL)
    assert found is not None, "the README has no program app.py"
    return found[1].replace("ctx.sleep(1)", "ctx.sleep(0.2)")


def check(wheel: Path, version: str, folder: Path) -> None:
    """Install a wheel for one version of Python, and use it.

    Raises
    ------
    AssertionError, subprocess.CalledProcessError
        Something does not work.
    """
    environment = folder / "env"
    made = _run([_UV, "venv", "--quiet", "--python", _python(version), str(environment)], folder)
    assert made.returncode == 0, made.stderr
    python = environment / "bin" / "python"
    package = f"understudy[http,ui] @ {wheel.as_uri()}"
    done = _run([_UV, "pip", "install", "--quiet", "--python", str(python), package], folder)
    assert done.returncode == 0, done.stderr
    (folder / "app.py").write_text(readme_program(), encoding="utf-8")
    alone = _run([str(python), "app.py"], folder)
    assert alone.stdout.endswith("Hello, world!\n"), alone.stdout + alone.stderr
    program = str(environment / "bin" / "understudy")
    for words in (["--help"], ["--version"], ["ui", "--help"], ["edge", "--help"]):
        assert _run([program, *words], folder).returncode == 0, words
    _on_nodes(program, folder)


def _python(version: str) -> str:
    """Return the program of a version: on the path, else of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for found in (shutil.which(f"python{version}"), *pyenv.glob(f"{version}.*/bin/python")):
        # Scripts of pyenv stand on the path for versions that they then refuse to run.
        if found and subprocess.run([found, "--version"], capture_output=True).returncode == 0:
            return str(found)
    raise AssertionError(f"there is no Python {version} here, on the path or in {pyenv}")


def _on_nodes(program: str, folder: Path) -> None:
    url = f"tcp://127.0.0.1:{free_port()}"
    env = {"UNDERSTUDY_URL": url, "UNDERSTUDY_BROKER__HTTP": "off"}
    env |= {"UNDERSTUDY_BROKER__METRICS": "none"}
    logs = {name: folder / f"{name}.log" for name in ("broker", "one", "two", "call")}
    broker = Program([program, "broker", "--listen", url], logs["broker"], env, folder)
    node = [program, "node", "app:runtime", "--group", "greeters"]
    nodes = [Program(node, logs[name], env, folder) for name in ("one", "two")]
    call = ["invoke", "greet-1", "greet", "--target", "greeters"]
    try:
        until("both nodes serve", lambda: all("serves" in each.output for each in nodes))
        arguments = ("--arg", "Ann", "--arg", "6")
        started = _run([program, *call, *arguments, "--url", url], folder)
        assert started.returncode == 0, started.stderr
        until("a step runs", lambda: any("step 2 of 6" in each.output for each in nodes))
        [busy] = [each for each in nodes if "step 2 of 6" in each.output]
        busy.kill()
        done = _run([program, *call, "--wait", "--url", url], folder)
        assert done.stdout == '"Hello, Ann!"\n', done.stdout + done.stderr
    finally:
        for each in (*nodes, broker):
            each.kill()


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_S)


def main() -> None:
    """Check all versions, or those that are named."""
    parser = argparse.ArgumentParser(prog="make wheel-test", description=__doc__)
    parser.add_argument("versions", nargs="*", help="versions of Python [default: all supported]")
    versions = parser.parse_args().versions or supported()
    with tempfile.TemporaryDirectory(prefix="understudy-wheel-") as made:
        folder = Path(made)
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
        [wheel] = folder.glob("*.whl")
        for version in versions:
            own = folder / version
            own.mkdir()
            check(wheel, version, own)
            shutil.rmtree(own)
            print(f"{wheel.name}: works with Python {version}", flush=True)


if __name__ == "__main__":
    main()
