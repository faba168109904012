"""The processes of a run: a pool with brokers, nodes and clients, and the faults they get.

A ledger records each fault as ``kill``, ``stop``, ``cont`` or ``term`` with the name of the
process. It also records ``listening`` when a broker's log says that it listens, ``joined`` when
that log says that a node has joined, and ``ended`` with the pool's words when a process has ended.
"""

from __future__ import annotations

import json
import os
import signal
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from tests.chaos.client import STOP_FILE
from tests.chaos.faults import Act
from tests.chaos.ledger import Ledger
from understudy_actors.processes import Pool, ProcessHandle, ProcessSpec, open_pool

#: Seconds for the start, and for the pending calls at the end.
PATIENCE_S: Final = 60.0

_SIGNALS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}


class World:
    """One run; `folder` gets the ledgers and the output of all processes.

    Parameters
    ----------
    specs
        The processes. Their names begin with their kind: ``broker``, ``node/left-0``,
        ``client/c0``, or ``steady/`` and so on for nodes that get no faults.
    callers
        The number of threads of all clients together.

    Attributes
    ----------
    log
        The ledger of faults.
    nursery
        Of the run; there while `run` is under way.
    """

    nursery: trio.Nursery

    def __init__(self, folder: Path, specs: Sequence[ProcessSpec], callers: int) -> None:
        self.folder = folder
        self.log = Ledger(folder / "world.log")
        self._specs = specs
        self._callers = callers
        self._output = (folder / "output.txt").open("w", encoding="utf-8")
        self._joined: set[str] = set()
        self._stopped: set[int] = set()
        self._interrupted: list[int] = []
        self._handles: dict[str, list[ProcessHandle]] = defaultdict(list)

    async def run(self, trouble: Callable[[World, Pool], Awaitable[None]]) -> None:
        """Start all processes, make trouble, and stop.

        Parameters
        ----------
        trouble
            Called when all nodes have joined: does what is to be done, and calls `calm_down`.

        Raises
        ------
        KeyboardInterrupt
            SIGINT or SIGTERM came; all processes are gone.
        TimeoutError
            Not all nodes joined. Calls that do not end are left for the verdict.
        """
        with self._output:
            async with open_pool(on_line=self.on_line) as pool, trio.open_nursery() as nursery:
                self.nursery = nursery
                await nursery.start(_end_at_signal, nursery.cancel_scope, self._interrupted)
                try:
                    await self._start(pool)
                    await trouble(self, pool)
                    await pool.stop()
                finally:
                    # A stopped process does not notice anything, not even the end of its pool.
                    self._wake_all()
                nursery.cancel_scope.cancel()
        if self._interrupted:
            raise KeyboardInterrupt

    async def follow(self, acts: Sequence[Act], seconds: float, pool: Pool) -> None:
        """Apply faults, each at its time, and return after so many seconds."""
        began_at = trio.current_time()
        for act in acts:
            await trio.sleep_until(began_at + act.at_s)
            self.strike(act, pool)
        await trio.sleep_until(began_at + seconds)

    def strike(self, act: Act, pool: Pool) -> str | None:
        """Apply one fault; return the name of the process. None: there is none to be hit now."""
        if act.kind == "fork-server":
            self._kill_fork_server(pool, act)
            return None
        # Stopped processes get no further fault, because their wake-up is to be tested.
        handles = [h for h in self._handles[act.kind] if h.pid not in self._stopped]
        handle = handles[act.target % len(handles)] if handles else None
        pid = handle.send_signal(_SIGNALS[act.verb]) if handle else None
        if handle is None or pid is None:
            return None
        self.log.write(act.verb, handle.name, f"{act.hold_s:g}" if act.hold_s else "", pid=pid)
        if act.hold_s:
            self._stopped.add(pid)
            self.nursery.start_soon(self._wake_later, handle, pid, act.hold_s)
        return handle.name

    async def calm_down(self) -> None:
        """Wake all processes, begin no new calls, and wait for the pending ones."""
        self._wake_all()
        (self.folder / STOP_FILE).touch()
        with trio.move_on_after(PATIENCE_S):
            while self._callers_done() < self._callers:
                await trio.sleep(0.05)

    async def _start(self, pool: Pool) -> None:
        await pool.prepare(self._specs)
        for spec in self._specs:
            self._handles[spec.name.partition("/")[0]].append(await pool.start(spec))
        with trio.move_on_after(PATIENCE_S) as limit:
            while len(self._joined) < len(self._handles["node"] + self._handles["steady"]):
                await trio.sleep(0.01)
        if limit.cancelled_caught:
            raise TimeoutError(f"only these nodes joined: {sorted(self._joined)}")

    def _kill_fork_server(self, pool: Pool, act: Act) -> None:
        pids: Sequence[int] = sorted(pool.statistics().fork_servers)
        if pids:
            pid = pids[act.target % len(pids)]
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self.log.write("kill", "fork-server", pid=pid)

    async def _wake_later(self, handle: ProcessHandle, pid: int, hold_s: float) -> None:
        await trio.sleep(hold_s)
        self._stopped.discard(pid)
        if handle.pid == pid:
            handle.send_signal(signal.SIGCONT)
            self.log.write("cont", handle.name, pid=pid)

    def _wake_all(self) -> None:
        for handle in (handle for handles in self._handles.values() for handle in handles):
            handle.send_signal(signal.SIGCONT)

    def _callers_done(self) -> int:
        """Count the clients' threads that have reported their end since the stop."""
        logs = self.folder.glob("client-*.log")
        return sum("\tdone\t" in path.read_text().rpartition("\n")[2] for path in logs)

    def on_line(self, name: str, line: str) -> None:
        """Keep a line of output, and note what it says about the run."""
        self._output.write(f"{name} | {line}\n")
        if name == "pool" and "; starting it again" in line:
            ended, _, how = line.partition("; starting it again")[0].partition(" ")
            self.log.write("ended", ended, how)
        if name.partition("/")[0] != "broker" or not line.startswith("{"):
            return
        try:
            entry = json.loads(line)
        except ValueError:
            return  # The line is incomplete, because the broker was killed.
        if "listening on" in entry["event"]:
            self.log.write("listening", name)
        elif entry["event"] == "joined" and entry["kind"] == "node":
            self.log.write("joined", entry["name"])
            self._joined.add(entry["name"])


async def _end_at_signal(
    scope: trio.CancelScope, received: list[int], task_status: trio.TaskStatus[None]
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            received.append(number)
            scope.cancel()
