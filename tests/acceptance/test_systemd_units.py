"""The units of systemd in deploy/: systemd takes them, and their commands and settings are real."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.deployed import DEPLOY, DRAIN_S, parsed
from understudy.edge.options import load_options
from understudy_broker.server.settings import load_settings

FOLDER = DEPLOY / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
PROGRAM = "/opt/understudy/bin/understudy"
#: exposure that `systemd-analyze security` finds, of 100: a unit without protection has 96
EXPOSURE_MAX = {"understudy-broker": 20, "understudy-edge": 20, "understudy-node@": 45}


def settings_of(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def variables(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_runs_a_real_command_and_is_told_how_it_is(unit: Path) -> None:
    found = settings_of(unit)
    [command] = found["ExecStart"]
    own = variables(FOLDER / "node.env")
    command = re.sub(r"\$\{(\w+)\}", lambda match: own[match[1]], command)
    program, *words = shlex.split(command)
    assert program == PROGRAM
    parsed(words)
    assert found["Type"] == ["notify"]
    assert found["Restart"] == ["always"]
    assert found["KillMode"] == ["mixed"]
    assert found["StartLimitIntervalSec"] == ["0"]
    assert int(found["TimeoutStopSec"][0]) >= 2 * DRAIN_S
    assert int(found["WatchdogSec"][0]) >= 60
    assert int(found["LimitNOFILE"][0]) >= 65536
    # A function may end its node with any exit code.
    assert ("RestartPreventExitStatus" in found) == ("node" not in unit.stem)


def test_the_settings_beside_them_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP", "METRICS"):
        monkeypatch.delenv(f"UNDERSTUDY_BROKER__{name}", raising=False)
    path = FOLDER / "understudy.toml"
    settings = load_settings(path, {})
    assert settings.store == "sqlite:////var/lib/understudy/calls.db"
    assert not settings.open_to_others
    options = load_options(path, {})
    assert options.url == settings.listen
    # Those that are a comment are settings as well.
    open_text = re.sub(r'^# (keys = "[^"]*")', r"\1", path.read_text(), flags=re.MULTILINE)
    assert open_text != path.read_text()
    assert 'keys = "/var/lib/understudy/keys"' in open_text


def verify(unit: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    text = unit.read_text().replace(PROGRAM, sys.executable).replace("/opt/app", str(folder))
    here = folder / unit.name.replace("@", "@a")
    here.write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(here)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_systemd_takes_them(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("this machine has no systemd-analyze")
    for unit in UNITS:
        done = verify(unit, tmp_path)
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), unit.name
        threshold = EXPOSURE_MAX[unit.stem]
        name = unit.name.replace("@", "@a")
        exposed = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", f"--threshold={threshold}", name],
            cwd=tmp_path,
            env={"SYSTEMD_UNIT_PATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert exposed.returncode == 0, exposed.stdout[-300:] + exposed.stderr


def test_a_mistake_in_a_unit_is_found(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("this machine has no systemd-analyze")
    wrong = tmp_path / "understudy-broker.service"
    wrong.write_text(UNITS[0].read_text().replace("TimeoutStopSec=45", "TimeoutStopSec=soon"))
    folder = tmp_path / "units"
    folder.mkdir()
    assert "soon" in verify(wrong, folder).stderr
