"""Ctrl-C while a command starts: real processes, interrupted at moments all over their start."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import understudy
from tests.integration.cli_world import PATIENCE_S, environment
from understudy.cli import main
from understudy.cli.interrupts import hand_over, leave_at_once
from understudy_broker.embedded import EmbeddedBroker

#: seconds between two moments
STEP_S = 0.015

OURS = Path(understudy.__file__).parent
#: their first lines come before anything of ours that could listen
FIRST = (OURS / "__init__.py", OURS / "__main__.py")


def ended(args: tuple[str, ...], cwd: Path, interrupted_after_s: float) -> tuple[int, str]:
    """Start it, send a SIGINT when so many seconds have passed; exit code, errors."""
    process = subprocess.Popen(
        [sys.executable, "-m", "understudy", *args],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        time.sleep(interrupted_after_s)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    return process.returncode, errors


def ours_in(errors: str) -> set[Path]:
    """Our modules that a traceback goes through."""
    files = {Path(name) for name in re.findall(r'File "([^"]+)"', errors)}
    return {file for file in files if OURS in file.parents and file not in FIRST}


@pytest.mark.parametrize("command", ["broker", "invoke"])
def test_an_interrupt_while_a_command_starts_is_quiet(command: str, tmp_path: Path) -> None:
    codes: list[int] = []
    with EmbeddedBroker("memory") as broker:
        args = {
            "broker": ("broker", "--help"),
            "invoke": ("invoke", "i-1", "f", "--target", "g", "--url", broker.endpoint),
        }[command]
        while not codes or codes[-1] != 0:
            code, errors = ended(args, tmp_path, len(codes) * STEP_S)
            codes.append(code)
            if code in (0, 130):
                assert "Traceback" not in errors
            else:
                # in Python's own start, which dies of it
                assert not ours_in(errors), errors
                assert code == -signal.SIGINT or "Fatal Python error" in errors, (code, errors)
    # it has come to us at most of the moments
    assert codes.count(130) > len(codes) / 2, codes


def test_an_interrupt_is_handed_over_only_by_who_took_it() -> None:
    before = signal.getsignal(signal.SIGINT)
    assert before is signal.default_int_handler
    try:
        leave_at_once()
        assert signal.getsignal(signal.SIGINT) not in (before, signal.SIG_IGN)
        hand_over()
        assert signal.getsignal(signal.SIGINT) is before
        # as in the background of a shell
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        leave_at_once()
        hand_over()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_program_that_runs_a_command_keeps_its_own_interrupts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("understudy ")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
