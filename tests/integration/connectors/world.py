"""A broker, connectors and nodes as processes, and queues of a real server."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tests.integration.cli.programs import Forked
from tests.support import eventually, free_url
from understudy import Runtime

#: seconds that something may take on a busy machine
PATIENCE_S = 90.0

_APP = """
import os
import time
from pathlib import Path

from understudy import Context, Runtime

runtime = Runtime("baz")
ledger = Path("ledger").open("a", buffering=1)

@runtime.register
def baz(ctx: Context, n: int) -> int:
    ledger.write(f"{n}\\n")
    return n + 1

@runtime.register
def outer(ctx: Context, n: int):
    first = yield ctx.rpc(baz, n)
    return (yield ctx.rpc("baz", first))

@runtime.register
def hold(ctx: Context, n: int) -> str:
    Path(f"holds-{n}").touch()
    while not Path("release").exists():
        time.sleep(0.01)
    return os.environ["NAME"]
"""


class Queue(Protocol):
    """A queue of one kind, on a server that can be killed."""

    @property
    def server_url(self) -> str:
        """The server's URL, with a secret if it has one."""
        ...

    @property
    def source_url(self) -> str:
        """The queue's URL for a runtime, with a secret if it has one."""
        ...

    @property
    def target(self) -> str:
        """The address for calls."""
        ...

    @property
    def name(self) -> str: ...

    def publish(self, bodies: Sequence[bytes]) -> None:
        """Put messages into the queue."""
        ...

    def waiting(self) -> int:
        """Return how many messages are not acknowledged; 0 if there is no such queue yet."""
        ...

    def kill(self) -> None: ...
    def start(self) -> None: ...


class World:
    """What a test of a connector starts, stops and kills."""

    def __init__(self, folder: Path, queue: Queue) -> None:
        self.folder = folder
        self.queue = queue
        self.url = free_url()
        self.programs: list[Forked] = []
        (folder / "app.py").write_text(_APP)
        self.broker = self._start("broker", "--listen", self.url, "--store", "sqlite:///calls.db")
        self.runtime = Runtime("test", url=self.url, connect_timeout=PATIENCE_S)
        self.calls = self.runtime.options(target=queue.target)

    def _start(self, *args: str, **env: str) -> Forked:
        program = Forked(*args, cwd=self.folder, **env)
        self.programs.append(program)
        return program

    def start_connector(self, *more: str) -> Forked:
        """Start a connector for the queue."""
        return self._start(
            "connector", "--queue", self.queue.name, "--url", self.url, *more,
            UNDERSTUDY_CONNECTOR_SERVER=self.queue.server_url,
        )  # fmt: skip

    def start_node(self, *more: str, url: str | None = None, name: str = "") -> Forked:
        """Start a node that takes its tasks from the queue."""
        source = self.queue.source_url
        return self._start(
            "node", "app:runtime", "--url", url or self.url, *more,
            UNDERSTUDY_TASK_SOURCE=source, NAME=name,
        )  # fmt: skip

    def start_edge(self) -> str:
        """Start an edge; return its address once it serves."""
        edge = self._start("edge", "--listen", "127.0.0.1:0", "--url", self.url)
        edge.wait_for("for the broker at")
        address = edge.output.split("understudy edge: ")[1].split()[0]
        eventually(lambda: urllib.request.urlopen(f"{address}/health").status == 200, PATIENCE_S)
        return address

    def kill(self, program: Forked) -> None:
        """Kill a process with SIGKILL."""
        program.process.send_signal(signal.SIGKILL)
        program.process.wait(PATIENCE_S)

    @property
    def performed(self) -> list[int]:
        """The arguments of all runs of `baz`."""
        path = self.folder / "ledger"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def exists(self, name: str) -> bool:
        """Return whether a function has made this file."""
        return (self.folder / name).exists()

    def close(self) -> None:
        self.runtime.stop()
        for program in reversed(self.programs):
            if program.process.poll() is None:
                program.process.kill()
            program.wait_for_exit()

    def report(self) -> str:
        """Return the output of all programs."""
        return "\n".join(f"--- {p.args[0]}\n{p.output[-3000:]}" for p in self.programs)


def offer(id: str, version: int = 0) -> bytes:
    """Return the message that offers a task."""
    task = {"id": id, "version": version}
    return json.dumps({"kind": "execute", "head": {}, "data": {"task": task}}).encode()
