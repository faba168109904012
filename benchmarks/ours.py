"""The product, started as its users do: by its command line, with its defaults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from understudy import BrokerUnavailableError, Runtime
from understudy.bench.deployment import free_port, node_count
from understudy.bench.runner import GROUP

APP = "benchmarks.app:runtime"
#: how long anything that is waited for may take
PATIENCE_S = 60.0
ROOT = Path(__file__).parent.parent


class Ours:
    """A broker, nodes and a client; `processes` by name."""

    def __init__(self, folder: Path, store: Path | None = None) -> None:
        self.folder = folder
        self.store = store or folder / "bench.db"
        self.url = f"tcp://127.0.0.1:{free_port()}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._log_path = folder / "processes.txt"
        self._log = self._log_path.open("ab")
        self._number = 0

    def start_broker(self) -> None:
        """Return when it may be connected to or will be soon: clients wait for it."""
        self.start("broker", "broker", "--listen", self.url, "--store", f"sqlite:///{self.store}")

    def start_node(self) -> str:
        """Start one more node; its name among `processes`."""
        self._number += 1
        name = f"node-{self._number}"
        self.start(name, "node", APP, "--id", name)
        return name

    def start(self, name: str, *arguments: str) -> None:
        """Run a command of the command line."""
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", "understudy", *arguments],
            stdout=self._log,
            stderr=self._log,
            cwd=ROOT,
            env={**os.environ, "UNDERSTUDY_URL": self.url},
        )

    def ask(self, *arguments: str) -> Any:
        """The answer of a command with ``--json``."""
        command = [sys.executable, "-m", "understudy", *arguments, "--json", "--url", self.url]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=PATIENCE_S, cwd=ROOT
        )
        return json.loads(done.stdout)

    def stop(self, name: str) -> None:
        """End a process in order."""
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def said(self) -> str:
        """What the processes printed last."""
        return self._log_path.read_text(errors="replace")[-2_000:]

    def close(self) -> None:
        """End what runs; the broker last."""
        for name in reversed(list(self.processes)):
            self.stop(name)
        self._log.close()


@contextmanager
def client_of(url: str) -> Iterator[Runtime]:
    """A client whose calls go to the nodes; it waits for a broker that is not there yet."""
    runtime = Runtime(group="bench-client", url=url, connect_timeout=PATIENCE_S)
    try:
        yield runtime.options(target=GROUP)
    finally:
        runtime.stop()


@contextmanager
def deployed(nodes: int = 2, store: Path | None = None) -> Iterator[tuple[Ours, Runtime]]:
    """A broker with `nodes` nodes and a client of it; nothing is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as name:
        ours = Ours(Path(name), store)
        try:
            ours.start_broker()
            for _ in range(nodes):
                ours.start_node()
            with client_of(ours.url) as client:
                wait_for_nodes(client, nodes)
                yield ours, client
        except (BrokerUnavailableError, TimeoutError) as error:
            error.add_note(ours.said())
            raise
        finally:
            ours.close()


def wait_for_nodes(client: Runtime, count: int) -> None:
    """Until exactly `count` nodes are there and ask for work."""
    until(lambda: node_count(client, GROUP) == count, f"{count} nodes")


def until(condition: Callable[[], bool], what: str, every_s: float = 0.02) -> None:
    """Look again and again until `condition` is true; raises TimeoutError with `what`."""
    ends_at = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > ends_at:
            raise TimeoutError(f"{what}: not within {PATIENCE_S:.0f} s")
        time.sleep(every_s)
