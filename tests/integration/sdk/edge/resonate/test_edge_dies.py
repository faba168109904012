"""Edges are killed while services with other SDKs work: they go on, and each call ends once.

A front, as a load balancer is one, has two edges behind it and passes each new connection on to the
first that takes it. The one in use is killed, and started anew behind the other.

For the SDKs of the older REST, see `tests.acceptance.test_nine_services`.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.integration.cli.programs import Forked
from tests.integration.sdk.edge.resonate import test_sdks as sdks
from tests.integration.sdk.edge.resonate.world import our_node, start_edge, url_of
from tests.services.fixture import required
from tests.services.packages import node_with
from tests.support import eventually, free_url
from understudy import Runtime
from understudy.bench.deployment import free_port

#: calls that are held together
CALLS: Final = 12
PATIENCE_S: Final = 40


class Front:
    """Listens at `port`, and passes each connection on to the first of `behind` that takes it."""

    def __init__(self) -> None:
        self.behind: list[int] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._take, sock=self._listener)
        await self._stop.wait()
        server.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            for port in tuple(self.behind):
                with suppress(OSError):
                    there = await asyncio.open_connection("127.0.0.1", port)
                    await asyncio.gather(self._pass(reader, there[1]), self._pass(there[0], writer))
                    break
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


class Edges:
    """Two edges at ports that stay the same, behind a front."""

    def __init__(self, broker: str, folder: Path) -> None:
        self._broker = broker
        self._folder = folder
        self._edges: list[tuple[Forked, int]] = []
        self.front = Front()
        for _ in range(2):
            self._start(free_port())

    def _start(self, port: int) -> None:
        edge = start_edge(self._broker, self._folder, listen=f"127.0.0.1:{port}")
        self._edges.append((edge, port))
        url_of(edge)
        self.front.behind.append(port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.front.port}"

    @property
    def pid(self) -> int:
        """That of the edge in use."""
        return self._edges[0][0].process.pid

    def kill(self) -> None:
        """Kill the edge in use, and start it again as the one that is used next."""
        edge, port = self._edges.pop(0)
        # A connection that is accepted meanwhile goes to the other one.
        self.front.behind.remove(port)
        edge.stop(signal.SIGKILL)
        self._start(port)

    def close(self) -> None:
        for edge, _ in self._edges:
            edge.stop()
        self.front.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("edges")


@pytest.fixture(scope="module")
def broker(folder: Path) -> Iterator[str]:
    where = free_url()
    arguments = ("--listen", where, "--store", f"sqlite:///{folder}/store.db")
    with Forked("broker", *arguments, cwd=folder) as broker, our_node(folder, where):
        broker.wait_for("listening on")
        yield where


@contextmanager
def edges_of(broker: str, folder: Path) -> Iterator[Edges]:
    edges = Edges(broker, folder)
    try:
        yield edges
    finally:
        edges.close()


def python_command(*arguments: str) -> list[str]:
    python = required(lambda: sdks.python_of("0.8.1"))
    return [python, str(sdks.JUDGES / "holding.py"), *arguments]


def typescript_command(*arguments: str) -> list[str]:
    folder = required(lambda: node_with(sdks.TYPESCRIPT))
    script = folder / "holding.mjs"
    shutil.copy(sdks.JUDGES / script.name, script)
    return ["node", str(script), *arguments]


def listeners(runtime: Runtime, group: str) -> set[int]:
    """Return the processes at which a group has members: edges."""
    groups = runtime.groups().groups
    return {node.os_pid for each in groups if each.name == group for node in each.nodes}


@pytest.mark.parametrize("command", [python_command, typescript_command])
def test_a_listener_goes_on_at_the_next_edge(
    command: Callable[..., list[str]], broker: str, folder: Path, tmp_path: Path
) -> None:
    group = command.__name__.replace("_", "-")
    with (
        edges_of(broker, tmp_path) as edges,
        Runtime("callers", url=broker) as runtime,
        served(command(edges.url, group), tmp_path),
    ):
        eventually(lambda: listeners(runtime, group) == {edges.pid}, PATIENCE_S)
        theirs = runtime.options(target=group, timeout=2 * PATIENCE_S)
        ids = [f"{group}-{n}" for n in range(CALLS)]
        calls = [theirs.rpc(id_, "held", n, str(tmp_path)) for n, id_ in enumerate(ids)]
        steps = tmp_path / "steps.txt"
        # All are acquired, and work.
        eventually(lambda: steps.exists() and len(steps.read_text().split()) == CALLS, PATIENCE_S)
        edges.kill()
        eventually(lambda: listeners(runtime, group) == {edges.pid}, PATIENCE_S)
        (tmp_path / "first").touch()
        # All wait for what they have called.
        eventually(lambda: states(folder, ids) == {"suspended"}, PATIENCE_S)
        edges.kill()
        eventually(lambda: listeners(runtime, group) == {edges.pid}, PATIENCE_S)
        (tmp_path / "second").touch()
        assert [call.result(PATIENCE_S) for call in calls] == [n + 1 for n in range(CALLS)]
        # No step has run a second time.
        assert sorted(map(int, steps.read_text().split())) == list(range(CALLS))


def states(folder: Path, ids: list[str]) -> set[str]:
    """Return the states of tasks, as the store has them now."""
    with closing(sqlite3.connect(f"file:{folder}/store.db?mode=ro", uri=True)) as connection:
        marks = ",".join("?" * len(ids))
        rows = connection.execute(f"SELECT task_state FROM promise WHERE id IN ({marks})", ids)
        return {row[0] for row in rows}


@contextmanager
def served(command: list[str], folder: Path) -> Iterator[None]:
    """Run a service during the block."""
    log = folder / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.kill()
        process.wait()
        print(log.read_text())
