"""The root of the command line: commands, errors, exit codes, imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

from understudy import ConfigurationError
from understudy.cli import main
from understudy.cli.app import COMMANDS, take_flag
from understudy.cli.errors import explain
from understudy.errors import BrokerUnavailableError, PayloadTooLargeError
from understudy_actors.errors import CommandError


def test_verbose_may_stand_anywhere_before_a_double_dash() -> None:
    assert take_flag("--verbose", ["groups", "--verbose"]) == (True, ["groups"])
    assert take_flag("--verbose", ["x", "--", "--verbose"]) == (False, ["x", "--", "--verbose"])


def test_errors_and_their_exit_codes() -> None:
    advices = {"": "Start the broker there", "no room": "is not available: no room. "}
    for reason, advice in advices.items():
        text, code = explain(BrokerUnavailableError("tcp://h:1", reason))
        assert code == 4
        assert advice in text
        assert "Runtime" not in text
    assert explain(ConfigurationError("x"))[1] == 2
    assert explain(CommandError(404, "no"))[1] == 1
    assert explain(CommandError(409, "another call has this id"))[1] == 3
    assert explain(PayloadTooLargeError("the payload", 5, 4))[1] == 3
    text, code = explain(ZeroDivisionError("oops"))
    assert (code, "--verbose" in text) == (1, True)


def test_every_command_has_an_app() -> None:
    from importlib import import_module

    for module in COMMANDS.values():
        assert import_module(module).app


def test_an_interrupt_during_import_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupts:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "understudy.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "understudy.cli.app")
    monkeypatch.setattr(sys, "meta_path", [Interrupts(), *sys.meta_path])
    assert main(["groups"]) == 130


def loaded_after(statement: str) -> set[str]:
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(run.stdout.split())


def test_a_command_is_imported_when_it_is_run() -> None:
    assert "typer" not in loaded_after("import understudy.cli")
    loaded = loaded_after("from understudy.cli import main; main(['node', 'cli_no_such_module'])")
    commands = {name for name in loaded if name.startswith("understudy.cli.")}
    assert "understudy.cli.commands.node" in commands
    assert {
        "understudy.cli.commands.broker",
        "understudy.cli.commands.tree",
        "understudy.cli.commands.dev",
    }.isdisjoint(commands)
    assert loaded.isdisjoint({"rich.live", "rich.table", "sqlmodel", "pydantic_settings"})
