"""Real brokers, nodes and edges tell a service manager how they are, as systemd is told."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.cli.programs import Program, wait_until
from tests.support import free_url
from understudy import Runtime

APP = """
import os
import time
from pathlib import Path

import understudy.client.node_monitor
from understudy import Runtime

understudy.client.node_monitor.BLOCKED_S = 0.3
runtime = Runtime("g")

@runtime.register
def environment(ctx):
    return [name for name in os.environ if "NOTIFY" in name or "WATCHDOG" in name]

@runtime.register
async def block(ctx, until):
    while not Path(until).exists():
        time.sleep(0.01)
"""
BEAT = "WATCHDOG=1"


class Manager:
    """A socket as systemd's, and what it was told so far, with the process that has said it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.told: list[tuple[int, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            text, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(12))
            [(_, _, credentials)] = ancillary
            self.told.append((int.from_bytes(credentials[:4], "little"), text.decode()))

    def lines(self) -> list[str]:
        return [line for _, text in self.told for line in text.splitlines()]

    def wait_for(self, line: str, times: int = 1) -> None:
        wait_until(lambda: self.lines().count(line) >= times, lambda: f"{line}: {self.told}")

    def variables(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": "400000"}


@contextmanager
def managed(address: str, *args: str, cwd: Path) -> Iterator[tuple[Manager, Program]]:
    """Run a command with a manager; see that it is told of the start, the life and the end."""
    manager = Manager(address)
    with Program(*args, cwd=cwd, **manager.variables()) as program:
        manager.wait_for("READY=1")
        manager.wait_for(BEAT, times=2)
        yield manager, program
        program.process.send_signal(signal.SIGTERM)
        program.process.wait(20)
        assert {pid for pid, _ in manager.told} == {program.process.pid}
        assert manager.lines().count("READY=1") == 1
        assert manager.lines().count("STOPPING=1") == 1


def test_the_manager_is_told_of_the_start_of_beats_and_of_the_end(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    url, gate = free_url(), tmp_path / "gate"
    edge = ("edge", "--listen", "127.0.0.1:0", "--url", url)
    waiting = Manager(str(tmp_path / "waiting"))
    with (
        Program("node", "app", "--url", url, cwd=tmp_path, **waiting.variables()) as node,
        managed(f"@{tmp_path}/b", "broker", "--listen", url, cwd=tmp_path) as (broker, process),
        managed(str(tmp_path / "e"), *edge, cwd=tmp_path) as (at_edge, _),
        Runtime("tests", url=url) as runtime,
    ):
        assert f"STATUS=listening on {url}" in broker.lines()
        assert any(line.startswith("STATUS=listening at http://") for line in at_edge.lines())
        # A node serves once a broker answers.
        waiting.wait_for("READY=1")
        waiting.wait_for(BEAT)
        calls = runtime.options(target="g")
        assert calls.rpc("env", "environment").result(20) == []
        _check_a_blocked_loop(waiting, calls, gate)
        _check_a_stopped_broker(broker, process)
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(20) == 143
        assert waiting.lines().count("STOPPING=1") == 1


def _check_a_blocked_loop(manager: Manager, calls: Runtime, gate: Path) -> None:
    handle = calls.rpc("blocked", "block", str(gate))
    still = threading.Event()

    def is_silent() -> bool:
        before = manager.lines().count(BEAT)
        still.wait(0.3)  # three beats would come in this time
        return manager.lines().count(BEAT) == before

    wait_until(is_silent, lambda: "the node beats although its loop is blocked")
    gate.touch()
    handle.result(20)
    manager.wait_for(BEAT, times=manager.lines().count(BEAT) + 1)


def _check_a_stopped_broker(manager: Manager, broker: Program) -> None:
    """See that there are no beats of a process that the system does not run."""
    os.kill(broker.process.pid, signal.SIGSTOP)
    count = manager.lines().count(BEAT)
    os.kill(broker.process.pid, signal.SIGCONT)
    manager.wait_for(BEAT, times=count + 1)


def test_a_supervisor_is_not_spoken_over(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    url, manager = free_url(), Manager(str(tmp_path / "s"))
    command = ("spawn", "app:runtime", "--group", "g", "--url", url)
    with (
        Program("broker", "--listen", url, cwd=tmp_path),
        Program(*command, cwd=tmp_path, **manager.variables()),
        Runtime("tests", url=url) as runtime,
    ):
        assert runtime.options(target="g").rpc("env", "environment").result(20) == []
        assert manager.told == []
