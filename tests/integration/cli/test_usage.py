"""Wrong usage, help, and a broker that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.cli.programs import Program, run
from tests.support import free_url
from understudy.cli import main
from understudy_broker.server.embedded import EmbeddedBroker


@pytest.mark.parametrize("where", ["tcp://*:5577", "tcp://127.0.0.1:0", "ftp://127.0.0.1:5577"])
def test_what_is_no_address_of_a_broker_is_wrong_usage(
    where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["groups", "--url", where]) == 2
    assert f"url='{where}' is no address of a broker: " in capsys.readouterr().err


def test_a_missing_broker_is_reported_soon(tmp_path: Path) -> None:
    where = free_url()
    ran = run("groups", "--url", where, cwd=tmp_path)
    assert ran.returncode == 4
    assert run("spawn", "app", "--group", "g", "--url", where, cwd=tmp_path).returncode == 4
    first, last = ran.stderr.splitlines()
    assert first.startswith(f"understudy: no broker answers at {where} yet; start one with: ")
    assert first.endswith("; trying for 4 s more")
    assert last.startswith(f"understudy: no broker answers at {where}. Start one with: ")


def test_a_broker_that_starts_late_is_waited_for(tmp_path: Path) -> None:
    where = free_url()
    with Program("groups", "--url", where, cwd=tmp_path) as command:
        command.wait_for("no broker answers")
        with EmbeddedBroker("memory", where):
            assert command.wait_for_exit() == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("invok",), "understudy: No such command 'invok'. Did you mean 'invoke'?"),
        (("invoke", "x"), "understudy invoke: Missing argument 'FUNC'."),
        (("node", "a", "--nope"), "understudy node: No such option"),
        (("spawn", "a", "--nodes", "0"), "understudy spawn: Invalid value"),
        (("promises", "explode"), "understudy promises: No such command"),
        (("invoke", "x", "f", "--target"), "understudy invoke: Option '--target' requires"),
    ],
)
def test_wrong_usage(
    args: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 2
    err = capsys.readouterr().err
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert err.rstrip().endswith("--help")


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    whole = capsys.readouterr().out
    for command in ("broker", "node", "spawn", "up", "dev", "invoke", "tree", "groups", "tasks"):
        assert f"\n  {command} " in whole
        assert main([command, "--help"]) == 0
        assert f"    understudy {command}" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("understudy ")
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().out
