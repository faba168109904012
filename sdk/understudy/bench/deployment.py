"""A broker and nodes for a benchmark, in a temporary folder."""

from __future__ import annotations

import secrets
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Final

import trio

from understudy import Runtime
from understudy_actors.processes import Pool, ProcessSpec, open_pool

#: Linux chooses from 32,768 on, other systems from 49,152 on.
_PORTS: Final = range(10_000, 32_768)
#: seconds in which the nodes must join
START_S: Final = 20.0
#: lines of the processes' output that are kept
_LINES_MAX: Final = 200


def free_port() -> int:
    """Return a port of this machine at which nothing listens now.

    It is below those that systems choose for sockets without a port of their own. One of those
    could be given to another program before this one is used.
    """
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Deployment:
    """A broker and nodes: ``with Deployment(nodes=2) as d:``, then `d.url`.

    The processes run in a pool on a thread of their own. When the block ends, they are stopped and
    the folder is removed.

    Parameters
    ----------
    nodes
        The number of node processes.
    app
        The Runtime that they serve.
    """

    def __init__(self, nodes: int, app: str = "understudy.bench.app:runtime") -> None:
        self.nodes = nodes
        self.app = app
        self.url = f"tcp://127.0.0.1:{free_port()}"
        #: the last lines that the processes wrote
        self.lines: deque[str] = deque(maxlen=_LINES_MAX)
        self._folder = tempfile.TemporaryDirectory(prefix="understudy-bench-")
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._pool: Pool | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._thread = threading.Thread(target=self._run, name="understudy-bench", daemon=True)

    def __enter__(self) -> Deployment:
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None and self._pool is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._pool.request_stop)
            self._thread.join()
        self._folder.cleanup()

    def _run(self) -> None:
        try:
            trio.run(self._run_pool)
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    async def _run_pool(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with open_pool(on_line=self._keep_line) as pool:
            self._pool = pool
            for spec in self._specs():
                await pool.start(spec)
            self._ready.set()
            await pool.wait()

    def _keep_line(self, name: str, line: str) -> None:
        self.lines.append(f"{name} {line}")

    def _specs(self) -> list[ProcessSpec]:
        command = [sys.executable, "-m", "understudy"]
        store = f"sqlite:///{self._folder.name}/bench.db"
        broker = ProcessSpec(
            name="broker",
            argv=[*command, "broker", "--no-http", "--listen", self.url, "--store", store],
            watches_lifeline=True,
        )
        nodes = [
            ProcessSpec(
                name=f"node/{number}",
                argv=[*command, "node", self.app, "--id", f"bench-{number}"],
                env={"UNDERSTUDY_URL": self.url},
                stage=1,
                watches_lifeline=True,
            )
            for number in range(1, self.nodes + 1)
        ]
        return [broker, *nodes]


def wait_for_nodes(client: Runtime, group: str, count: int) -> None:
    """Wait until `count` nodes of `group` serve; raises TimeoutError after 20 seconds."""
    deadline = time.monotonic() + START_S
    while (found := node_count(client, group)) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{found} of {count} nodes of group {group!r} joined in {START_S:.0f} s. Start "
                f"them with: understudy spawn understudy.bench.app:runtime --group {group} "
                f"--nodes {count}; or give their number with --nodes"
            )
        time.sleep(0.02)


def node_count(client: Runtime, group: str) -> int:
    """Count the nodes of `group` that have joined and have room for work, or hold some."""
    report = client.groups()
    return sum(
        1
        for found in report.groups
        if found.name == group
        for node in found.nodes
        if node.credit or node.held
    )
