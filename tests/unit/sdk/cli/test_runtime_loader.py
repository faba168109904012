"""Finding a Runtime, and files that change."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from understudy import ConfigurationError, Runtime
from understudy.cli.errors import UsageError
from understudy.cli.file_watcher import Folder
from understudy.cli.runtime_loader import AppError, load_runtime

ONE = "from understudy import Runtime\nruntime = Runtime(group='g')\nalias = runtime\nn = 5\n"
TWO = f"{ONE}other = Runtime(group='h')\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.startswith("cli_"):
            del sys.modules[name]


def test_found_by_name_or_because_it_is_the_only_one(folder: Path) -> None:
    (folder / "cli_one.py").write_text(ONE)
    assert load_runtime("cli_one:runtime") is load_runtime("cli_one")
    assert load_runtime("cli_one").group == "g"


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("cli_none", "no module 'cli_none' in"),
        ("cli_two.sub:x", "no module 'cli_two.sub'"),
        ("cli_two:nothing", "no 'nothing'; its Runtimes are: .*cli_two:other"),
        ("cli_two:n", "is no Runtime but a int"),
        ("cli_two", "several Runtimes, name one: cli_two:alias"),
        ("cli_empty", "has no Runtime"),
        ("cli_two.py", "did you mean cli_two:runtime"),
        ("./pkg/cli_two.py:other", "did you mean pkg.cli_two:other"),
        (":other", "did you mean app:other"),
        (".py", "did you mean app:runtime"),
    ],
)
def test_what_is_not_found_is_explained(folder: Path, app: str, message: str) -> None:
    (folder / "cli_two.py").write_text(TWO)
    (folder / "cli_empty.py").write_text("x = 1\n")
    with pytest.raises(UsageError, match=message):
        load_runtime(app)


@pytest.mark.parametrize(
    "body", ["import cli_absent\n", "1 / 0\n", "def f(:\n", "raise SystemExit\n"]
)
def test_errors_in_the_app_are_shown_from_its_own_first_line(folder: Path, body: str) -> None:
    (folder / "cli_bad.py").write_text(body)
    with pytest.raises(AppError, match="cli_bad") as caught:
        load_runtime("cli_bad:runtime")
    text = str(caught.value)
    assert 'cli_bad.py", line 1' in text
    assert "importlib" not in text


def test_a_runtime_is_configured_before_it_connects() -> None:
    runtime = Runtime(group="g", id="mine")
    copy = runtime.options(timeout=5)
    runtime.configure()
    assert (runtime.group, runtime.id) == ("g", "mine")
    runtime.configure(group="h", url="tcp://127.0.0.1:9", concurrency=2)
    assert (copy.group, copy.url) == ("h", "tcp://127.0.0.1:9")
    assert copy.id.startswith("h-")
    runtime.configure(id="n-1")
    assert copy.id == "n-1"


def test_what_cannot_be_configured() -> None:
    runtime = Runtime(group="g")
    with pytest.raises(ConfigurationError, match="no address"):
        runtime.configure(url="http://x")
    with pytest.raises(ConfigurationError, match="concurrency=0"):
        runtime.configure(concurrency=0)
    with Runtime.local() as local, pytest.raises(ConfigurationError, match="connected already"):
        local.configure(group="h")


@pytest.mark.parametrize("asked", [None, True, False])
def test_a_local_runtime_that_gets_an_address_joins_that_broker(asked: bool | None) -> None:
    runtime = Runtime.local(pickle=asked)
    before = runtime.is_embedded
    runtime.configure(url="tcp://127.0.0.1:7777")
    assert (before, runtime.is_embedded) == (True, False)
    assert runtime.url == "tcp://127.0.0.1:7777"
    # others may send values there: pickles only if the user said so
    assert runtime.session.env.values.codec.pickle is bool(asked)


def test_changes_of_python_files_are_seen_once(tmp_path: Path) -> None:
    for name in ("a.py", "deep/b.py", "notes.txt", ".git/c.py", "env/d.py", "__pycache__/e.py"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    (tmp_path / "env/pyvenv.cfg").touch()
    folder = Folder(tmp_path)
    assert folder.changes() == []
    for name in ("notes.txt", ".git/c.py", "env/d.py", "__pycache__/e.py"):
        (tmp_path / name).write_text("changed")
    assert folder.changes() == []
    os.utime(tmp_path / "a.py", ns=(1, 1))
    (tmp_path / "deep/b.py").unlink()
    (tmp_path / "deep/new.py").touch()
    assert folder.changes() == ["a.py", "deep/b.py", "deep/new.py"]
    assert folder.changes() == []


def loaded_after(statement: str) -> set[str]:
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(run.stdout.split())


def test_a_family_is_imported_when_it_is_asked_for() -> None:
    assert "typer" not in loaded_after("import understudy.cli")
    loaded = loaded_after("from understudy.cli import main; main(['node', 'cli_no_such_module'])")
    families = {name for name in loaded if name.startswith("understudy.cli.")}
    assert "understudy.cli.commands.node" in families
    assert {
        "understudy.cli.commands.broker",
        "understudy.cli.commands.tree",
        "understudy.cli.commands.dev",
    }.isdisjoint(families)
    assert loaded.isdisjoint({"rich.live", "rich.table", "sqlmodel", "pydantic_settings"})
