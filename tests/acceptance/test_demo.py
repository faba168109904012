"""The demo as `make demo` runs it: its story, a failure, an interrupt. Nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.acceptance.system import until

ROOT = Path(__file__).parents[2]
DEMO = ["-m", "examples.async_rpc.demo"]

#: seconds after which the demo counts as hung; it needs about fifteen
PATIENCE_S = 180

#: a line of each part of the story, in order
KEY_LINES = [
    r"^1\. 11 processes run: a broker, nine services, a gateway",
    r'^   POST /await-chain  →  \{"message": 3\}',
    r'^   POST /detached-chain  →  \{"message": "detached-chain started"\}',
    r"^   a moment later service-f prints: 'the detached chain ends with 3'",
    r'^   POST /fan-out-workflow  →  \{"message": 3\}',
    r"^   while baz runs: service-b \(process \d+\) is killed with SIGKILL",
    r"^   service-b is back as process \d+",
    r'^   POST /await-chain\?id=await-chain-2&seconds=4  →  \{"message": 3\}',
    r"^   baz ran once",
    r"^   while baz runs: the gateway \(process \d+\) is killed with SIGKILL",
    r"^   POST /await-chain\?id=await-chain-3&seconds=4  →  no response",
    r"^   the gateway is back as process \d+",
    r'^   POST /await-chain\?id=await-chain-3&seconds=4  →  \{"message": 3\}',
    r"^   baz ran once",
    r"^   \$ understudy tree await-chain-2",
    r"^   await-chain-2 +foo\(4\.0\) +resolved",
    r"^ +└─ await-chain-2\.1 +bar\(4\.0\) +resolved",
    r"^ +└─ await-chain-2\.1\.1 +baz\(4\.0\) +resolved",
    r"^   \$ understudy groups",
    r"^   service-a +service-a-1 ",
    r"^   service-i +service-i-1 ",
    r"^Everything is stopped\.",
]


class Run:
    """One run of the demo, with a folder of its own for temporary files."""

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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if not Path("/proc/self/environ").exists():
        pytest.skip("needs /proc, to see which processes are left")
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def test_the_demo_tells_its_story_and_leaves_nothing(folder: Path) -> None:
    run = Run(folder, DEMO)
    run.ends_with(0)
    assert list(folder.iterdir()) == []
    assert run.err == ""
    lines = run.out.splitlines()
    assert len(lines) <= 60, run.out
    rest = iter(lines)
    for pattern in KEY_LINES:
        # `any` consumes the lines up to the match, so the order counts.
        assert any(re.search(pattern, line) for line in rest), f"{pattern}\n{run.out}"


def test_a_failure_is_reported_with_the_logs(folder: Path) -> None:
    change = "demo.AWAIT_CHAIN_RESPONSE = '{\"message\": 4}'"
    program = f"import sys; from examples.async_rpc import demo; {change}; sys.exit(demo.main())"
    run = Run(folder, ["-c", program])
    run.ends_with(1)
    assert 'The demo failed: POST /await-chain returned {"message": 3}' in run.err
    assert re.search(r"^service-c/1 +\| running function baz", run.err, re.MULTILINE)
    # The whole log is kept, and nothing else.
    (kept,) = folder.iterdir()
    assert str(kept) in run.err
    assert "running function foo" in kept.read_text(encoding="utf-8")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_everything(folder: Path, number: signal.Signals) -> None:
    run = Run(folder, DEMO)
    until("some processes run", lambda: len(run.processes()) > 3)
    run.process.send_signal(number)
    run.ends_with(128 + number)
    assert "interrupted: everything is stopped" in run.out
    assert list(folder.iterdir()) == []
    assert run.err == ""
