"""The demo's system: the processes of topology.toml, and what the demo does to them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import msgspec
import trio

from examples.async_rpc.demo_program import DemoError, ProcessLog
from understudy import Runtime
from understudy.bench.deployment import free_port
from understudy_actors.processes import Pool
from understudy_actors.processes.topology import ProcessEntry, Topology, load_topology, processes

TOPOLOGY = Path(__file__).with_name("topology.toml")

#: Seconds after which a wait fails the demo.
PATIENCE_S = 60.0
#: Seconds between two checks of a condition.
POLL_S = 0.02

#: The environment may name a proxy, which could not reach 127.0.0.1.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class DemoSystem:
    """A broker, nine services and a gateway, on free ports.

    Parameters
    ----------
    folder
        A folder for the store and the ledger.
    pool
        The pool that runs the processes.
    log
        The lines that they write.
    """

    def __init__(self, folder: Path, pool: Pool, log: ProcessLog) -> None:
        self.pool = pool
        self.log = log
        self.port = free_port()
        self.url = f"tcp://127.0.0.1:{free_port()}"
        self.ledger = folder / "ledger.txt"
        #: where the broker's edge listens
        self.edge = f"127.0.0.1:{free_port()}"
        self.topology = _adapt(load_topology(TOPOLOGY), self.port, self.url, self.edge, folder)
        self.runtime = Runtime(group="demo", url=self.url)

    async def start(self) -> int:
        """Start all processes and wait until they are ready; return their number."""
        broker, *others = processes(self.topology)
        await self.pool.start(broker)
        await self.until("the broker listens", lambda: self.log.has("broker", "listening on"))
        for spec in others:
            await self.pool.start(spec)
        for group in self.topology.groups:
            await self.wait_for_node(group.name, other_than=None)
        await self.wait_for_gateway()
        return 1 + len(others)

    async def start_dashboard(self) -> str:
        """Start a dashboard and wait until it answers; return its address."""
        place = f"127.0.0.1:{free_port()}"
        entry = ProcessEntry(name="ui", command=["understudy", "ui", "--listen", place])
        [spec] = processes(Topology(folder=TOPOLOGY.parent, url=self.url, processes=(entry,)))
        await self.pool.start(spec)
        page = f"http://{place}"
        await self.until("the dashboard answers", lambda: self.log.has("ui", page))
        return page

    async def post(self, path: str) -> str:
        """Send a POST request to the gateway; return the body of its response."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method="POST")
        return await trio.to_thread.run_sync(_read_response, request, abandon_on_cancel=True)

    def pid(self, name: str) -> int | None:
        """Return the id of the process that runs under a name now; None if it is down."""
        return next(p.pid for p in self.pool.statistics().processes if p.name == name)

    def kill(self, name: str) -> int:
        """Kill a process with SIGKILL, which it cannot notice; return its id."""
        pid = self.pid(name)
        if pid is None:
            raise DemoError(f"{name} is not running, so it cannot be killed")
        os.kill(pid, signal.SIGKILL)
        return pid

    def count_runs(self, root: str) -> int:
        """Count the runs of baz in the call graph of `root`. Each adds a line to the ledger."""
        if not self.ledger.exists():
            return 0
        return sum(id.startswith(f"{root}.") for id in self.ledger.read_text().splitlines())

    async def wait_for_node(self, group: str, other_than: int | None) -> int:
        """Wait for a node of the group in a process other than the given one; return its pid."""
        with trio.move_on_after(PATIENCE_S):
            while True:
                report = await trio.to_thread.run_sync(self.runtime.groups, abandon_on_cancel=True)
                pids = [n.os_pid for g in report.groups if g.name == group for n in g.nodes]
                if pids and pids[0] != other_than:
                    return pids[0]
                await trio.sleep(POLL_S)
        raise DemoError(f"no node of {group} joined within {PATIENCE_S:g} s")

    async def wait_for_gateway(self) -> None:
        """Wait until the gateway accepts connections."""
        await self.until("the gateway listens", self._gateway_listens)

    def _gateway_listens(self) -> bool:
        return _listens(self.port)

    def edge_listens(self) -> bool:
        """Return whether the edge accepts connections."""
        return _listens(int(self.edge.rpartition(":")[2]))

    async def until(self, goal: str, condition: Callable[[], bool]) -> None:
        """Wait for a condition; raises `DemoError` after a minute."""
        with trio.move_on_after(PATIENCE_S):
            while not condition():
                await trio.sleep(POLL_S)
            return
        raise DemoError(f"waited {PATIENCE_S:g} s in vain until {goal}")

    async def run_command(self, *arguments: str) -> str:
        """Run an ``understudy`` command; return what it prints."""
        done = await trio.run_process(
            [sys.executable, "-m", "understudy", *arguments],
            env={**os.environ, "UNDERSTUDY_URL": self.url},
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
        text = done.stdout.decode().rstrip()
        if done.returncode:
            raise DemoError(f"understudy {' '.join(arguments)}: {text}")
        return text


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _adapt(topology: Topology, port: int, url: str, edge: str, folder: Path) -> Topology:
    """Return the topology with the addresses and files of this run."""
    [broker] = topology.brokers
    replace = msgspec.structs.replace
    ledger = {"ASYNC_RPC_LEDGER": str(folder / "ledger.txt")}
    return replace(
        topology,
        url=url,
        brokers=(
            replace(
                broker,
                listen=url,
                store=f"sqlite:///{folder / 'store.db'}",
                settings={**broker.settings, "http": edge},
            ),
        ),
        groups=tuple(replace(group, env=group.env | ledger) for group in topology.groups),
        processes=tuple(
            replace(process, env=process.env | {"PORT": str(port)})
            for process in topology.processes
        ),
    )


def _read_response(request: urllib.request.Request) -> str:
    with _OPENER.open(request, timeout=PATIENCE_S) as response:
        return json.dumps(json.load(response))
