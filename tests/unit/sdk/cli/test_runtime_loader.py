"""Import of the Runtime that module:name names, and its configuration."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from understudy import ConfigurationError, Runtime
from understudy.cli.errors import UsageError
from understudy.cli.runtime_loader import AppError, load_runtime

ONE = "from understudy import Runtime\nruntime = Runtime(group='g')\nalias = runtime\nn = 5\n"


TWO = f"{ONE}other = Runtime(group='h')\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory whose modules are removed from `sys.modules` afterwards."""
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
        ("cli_two:n", "is not a Runtime but a int"),
        ("cli_two", "several Runtimes; choose one of: cli_two:alias"),
        ("cli_empty", "has no Runtime"),
        ("cli_two.py", "did you mean cli_two:runtime"),
        ("./pkg/cli_two.py:other", "did you mean pkg.cli_two:other"),
        (":other", "did you mean app:other"),
        (".py", "did you mean app:runtime"),
    ],
)
def test_a_runtime_that_is_not_found_is_explained(folder: Path, app: str, message: str) -> None:
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


def test_invalid_configurations() -> None:
    runtime = Runtime(group="g")
    with pytest.raises(ConfigurationError, match="no address"):
        runtime.configure(url="ftp://x")
    with pytest.raises(ConfigurationError, match="concurrency=0"):
        runtime.configure(concurrency=0)
    with Runtime.local() as local, pytest.raises(ConfigurationError, match="connected already"):
        local.configure(group="h")


@pytest.mark.parametrize("asked", [None, True, False])
def test_a_local_runtime_that_gets_an_address_joins_that_broker(asked: bool | None) -> None:
    runtime = Runtime.local(pickle=asked)
    before = runtime.session.embedded is not None
    runtime.configure(url="tcp://127.0.0.1:7777")
    assert (before, runtime.session.embedded is not None) == (True, False)
    assert runtime.url == "tcp://127.0.0.1:7777"
    # Other processes may send values now, so pickles need the user's own word.
    assert runtime.session.env.values.codec.pickle is bool(asked)
