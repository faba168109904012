"""The processes of a run: a pool with a broker, nodes and clients, and the faults they get.

A ledger records each fault as ``kill``, ``stop``, ``cont`` or ``term`` with the name of the
process. It also records ``listening`` when a broker's log says that it listens, and ``joined`` when
that log says that a node has joined.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from tests.chaos.app import LEDGER_ENV, LEFT, RIGHT
from tests.chaos.client import FOLDER_ENV, SEED_ENV, STOP_FILE, THREADS
from tests.chaos.faults import Act, plan
from tests.chaos.ledger import Ledger
from tests.chaos.observer import Observer
from understudy.bench.deployment import free_port
from understudy_actors.processes import Pool, ProcessHandle, ProcessSpec, RestartPolicy, open_pool

#: The number of nodes of each group.
NODES: Final = {LEFT: 3, RIGHT: 3}
CLIENTS: Final = 3
#: The lease, short so that it often lapses while a process is stopped.
LEASE_S: Final = 1.0
#: The file of the store, in the folder of a run.
STORE: Final = "chaos.db"
#: Restarts are unlimited because processes are killed on purpose.
POLICY: Final = RestartPolicy(max_s=0.01, max_restarts=1_000_000_000)
#: Seconds for the start, and for the pending calls at the end.
PATIENCE_S: Final = 60.0

_SIGNALS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}


class World:
    """One run; `folder` gets the store, the ledgers and the output of all processes."""

    def __init__(self, folder: Path, seed: int, seconds: float) -> None:
        self.folder = folder
        self._seconds = seconds
        self._acts = plan(seed, seconds, LEASE_S)
        self._log = Ledger(folder / "world.log")
        self._output = (folder / "output.txt").open("w", encoding="utf-8")
        self._joined: set[str] = set()
        self._stopped: set[int] = set()
        self._interrupted: list[int] = []
        self._handles: dict[str, list[ProcessHandle]] = {"broker": [], "node": [], "client": []}
        self._url = f"tcp://127.0.0.1:{free_port()}"
        self._specs = _specs(folder, self._url, seed)

    async def run(self) -> None:
        """Start all processes, apply the faults, let pending calls end, and stop.

        Raises
        ------
        KeyboardInterrupt
            SIGINT or SIGTERM came; all processes are gone.
        TimeoutError
            Not all nodes joined. Calls that do not end are left for the verdict.
        """
        with self._output:
            async with open_pool(on_line=self._on_line) as pool, trio.open_nursery() as nursery:
                await nursery.start(_end_at_signal, nursery.cancel_scope, self._interrupted)
                try:
                    await self._start(pool)
                    with Observer(self._url) as observer:
                        await self._strike(pool, nursery)
                        await self._calm_down()
                    self._log.write("refused", "stale writes", str(observer.total("stale_writes")))
                    await pool.stop()
                finally:
                    # A stopped process does not notice anything, not even the end of its pool.
                    self._wake_all()
                nursery.cancel_scope.cancel()
        if self._interrupted:
            raise KeyboardInterrupt

    async def _calm_down(self) -> None:
        """Wake all processes, begin no new calls, and wait for the pending ones."""
        self._wake_all()
        (self.folder / STOP_FILE).touch()
        with trio.move_on_after(PATIENCE_S):
            while self._callers_done() < CLIENTS * THREADS:
                await trio.sleep(0.05)

    async def _start(self, pool: Pool) -> None:
        await pool.prepare(self._specs)
        for spec in self._specs:
            self._handles[spec.name.partition("/")[0]].append(await pool.start(spec))
        with trio.move_on_after(PATIENCE_S) as limit:
            while len(self._joined) < len(self._handles["node"]):
                await trio.sleep(0.01)
        if limit.cancelled_caught:
            raise TimeoutError(f"only these nodes joined: {sorted(self._joined)}")

    async def _strike(self, pool: Pool, nursery: trio.Nursery) -> None:
        began_at = trio.current_time()
        for act in self._acts:
            await trio.sleep_until(began_at + act.at_s)
            if act.kind == "fork-server":
                self._kill_fork_server(pool, act)
                continue
            # Stopped processes get no further fault, because their wake-up is to be tested.
            handles = [h for h in self._handles[act.kind] if h.pid not in self._stopped]
            handle = handles[act.target % len(handles)] if handles else None
            pid = handle.send_signal(_SIGNALS[act.verb]) if handle else None
            if handle is not None and pid is not None:
                self._log.write(act.verb, handle.name, pid=pid)
                if act.hold_s:
                    self._stopped.add(pid)
                    nursery.start_soon(self._wake_later, handle, pid, act.hold_s)
        await trio.sleep_until(began_at + self._seconds)

    def _kill_fork_server(self, pool: Pool, act: Act) -> None:
        pids: Sequence[int] = sorted(pool.statistics().fork_servers)
        if pids:
            pid = pids[act.target % len(pids)]
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self._log.write("kill", "fork-server", pid=pid)

    async def _wake_later(self, handle: ProcessHandle, pid: int, hold_s: float) -> None:
        await trio.sleep(hold_s)
        self._stopped.discard(pid)
        if handle.pid == pid:
            handle.send_signal(signal.SIGCONT)
            self._log.write("cont", handle.name, pid=pid)

    def _wake_all(self) -> None:
        for handle in (handle for handles in self._handles.values() for handle in handles):
            handle.send_signal(signal.SIGCONT)

    def _callers_done(self) -> int:
        """Count the clients' threads that have reported their end since the stop."""
        logs = self.folder.glob("client-*.log")
        return sum("\tdone\t" in path.read_text().rpartition("\n")[2] for path in logs)

    def _on_line(self, name: str, line: str) -> None:
        self._output.write(f"{name} | {line}\n")
        if name != "broker" or not line.startswith("{"):
            return
        try:
            entry = json.loads(line)
        except ValueError:
            return  # The line is incomplete, because the broker was killed.
        if "listening on" in entry["event"]:
            self._log.write("listening", "broker")
        elif entry["event"] == "joined" and entry["kind"] == "node":
            self._log.write("joined", entry["name"])
            self._joined.add(entry["name"])


async def _end_at_signal(
    scope: trio.CancelScope, received: list[int], task_status: trio.TaskStatus[None]
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            received.append(number)
            scope.cancel()


def _specs(folder: Path, url: str, seed: int) -> list[ProcessSpec]:
    understudy = [sys.executable, "-m", "understudy"]
    settings = {"lease_ttl_s": str(LEASE_S), "deaths_max": "0", "log_format": "json"}
    flags = [f"{name}={value}" for name, value in settings.items()]
    broker = [*understudy, "broker", "--listen", url, "--store", f"sqlite:///{folder / STORE}"]
    for flag in flags:
        broker += ["--set", flag]
    env = {
        "UNDERSTUDY_URL": url,
        LEDGER_ENV: str(folder / "nodes.log"),
        FOLDER_ENV: str(folder),
        SEED_ENV: str(seed),
    }
    specs = [_spec("broker", broker, (), env, 0)]
    for group, nodes in NODES.items():
        argv = [*understudy, "node", "tests.chaos.app:runtime", "--group", group]
        names = [f"{group}-{number}" for number in range(nodes)]
        specs += [_spec(f"node/{name}", argv, ("--id", name), env, 1) for name in names]
    client = [sys.executable, "-m", "tests.chaos.client"]
    specs += [_spec(f"client/{n}", client, (str(n),), env, 2) for n in range(CLIENTS)]
    return specs


def _spec(
    name: str, argv: list[str], own_args: tuple[str, ...], env: dict[str, str], stage: int
) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        argv=argv,
        own_args=own_args,
        forks=True,
        env=env,
        cwd=Path(__file__).parents[2],
        restart=POLICY,
        stage=stage,
        watches_lifeline=True,
    )
