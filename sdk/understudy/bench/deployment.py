"""A broker and nodes of their own for a benchmark, in a temporary directory."""

from __future__ import annotations

import socket
import sys
import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from types import TracebackType

import trio

from understudy import Runtime
from understudy_actors.processes import Pool, ProcessSpec, open_pool

START_S = 20.0


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Deployment:
    """``with Deployment(nodes=2) as d:`` then `d.url`; nothing of it is left afterwards."""

    def __init__(self, nodes: int, app: str = "understudy.bench.app:runtime") -> None:
        self.nodes = nodes
        self.app = app
        self.url = f"tcp://127.0.0.1:{free_port()}"
        self.lines: deque[str] = deque(maxlen=200)
        self._directory = tempfile.TemporaryDirectory(prefix="understudy-bench-")
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
        self._directory.cleanup()

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with open_pool(
            on_line=lambda name, line: self.lines.append(f"{name} {line}")
        ) as pool:
            self._pool = pool
            for spec in self._specs():
                await pool.start(spec)
            self._ready.set()
            await pool.wait()

    def _keep(self, name: str, line: str) -> None:
        self.lines.append(f"{name} | {line}")

    def _specs(self) -> list[ProcessSpec]:
        command = [sys.executable, "-m", "understudy"]
        store = f"sqlite:///{self._directory.name}/bench.db"
        env = {"UNDERSTUDY_URL": self.url}
        broker = ProcessSpec(
            name="broker",
            argv=[*command, "broker", "--listen", self.url, "--store", store],
            watches_lifeline=True,
        )
        nodes = [
            ProcessSpec(
                name=f"node/{number}",
                argv=[*command, "node", self.app, "--id", f"bench-{number}"],
                env=env,
                stage=1,
                watches_lifeline=True,
            )
            for number in range(1, self.nodes + 1)
        ]
        return [broker, *nodes]


def wait_for_nodes(client: Runtime, group: str, count: int) -> None:
    """Return when `count` nodes of `group` serve; raises TimeoutError after `START_S`."""
    deadline = time.monotonic() + START_S
    while (found := node_count(client, group)) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{found} of {count} nodes of group {group!r} came up in {START_S:.0f} s. Start "
                f"them with: understudy spawn understudy.bench.app:runtime --group {group} "
                f"--nodes {count}; or say with --nodes how many there are"
            )
        time.sleep(0.02)


def node_count(client: Runtime, group: str) -> int:
    """How many nodes of `group` are connected and ask for work."""
    report = client.groups()
    return sum(
        1 for g in report.groups if g.name == group for node in g.nodes if node.credit or node.held
    )
