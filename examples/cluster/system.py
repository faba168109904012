"""The demo's system: two database servers, three brokers, and nodes of two groups."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from examples.async_rpc.demo_program import DemoError, ProcessLog
from examples.cluster.app import LEDGER_ENV
from tests.cluster import rows
from tests.standby_pair import StandbyPair
from understudy import Runtime, UnderstudyError
from understudy.bench.deployment import free_port
from understudy.cli.deployment import read_placement
from understudy_actors.processes import Pool, ProcessSpec, RestartPolicy, open_pool
from understudy_store.slots import SLOTS

ROOT: Final = Path(__file__).parents[2]
BROKERS: Final = ("a", "b", "c")
#: The broker that is killed; the pool starts it again.
VICTIM: Final = "b"
#: The broker that is stopped in order.
LEAVER: Final = "c"
#: Nodes of each group.
NODES: Final = {"orders": 2, "payments": 2}
#: Seconds after which a broker that died is started again, so that one can see what happens.
RESTART_S: Final = 5.0
#: Seconds after which a wait fails the demo.
PATIENCE_S: Final = 60.0
#: Seconds between two checks of a condition.
POLL_S: Final = 0.02

_UNDERSTUDY: Final = (sys.executable, "-m", "understudy")


class ClusterSystem:
    """All processes but the database servers, which are given.

    Parameters
    ----------
    folder
        A folder for the ledger.
    """

    def __init__(self, folder: Path, pair: StandbyPair, log: ProcessLog) -> None:
        self.log = log
        self.ledger = folder / "ledger.txt"
        self._store = pair.url
        self._addresses = {name: f"tcp://127.0.0.1:{free_port()}" for name in BROKERS}
        self.url = ",".join(self._addresses.values())
        self._pool: Pool
        self._leaver: Pool
        self._victim_pid: int | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Start all processes; they are stopped at the end of the block."""
        async with (
            open_pool(on_line=self.log.add) as pool,
            open_pool(on_line=self.log.add) as other,
        ):
            self._pool, self._leaver = pool, other
            # The nodes end before the brokers do.
            for name in BROKERS:
                await (other if name == LEAVER else pool).start(self._broker(name))
            for group, number in ((g, n) for g, count in NODES.items() for n in range(count)):
                await pool.start(self._node(group, number + 1))
            await self.wait_for_slots(lambda slots: all(slots[name] for name in BROKERS))
            await self._wait_for_nodes()
            yield

    def _broker(self, name: str) -> ProcessSpec:
        flags = ("--name", name, "--listen", self._addresses[name], "--store", self._store)
        return ProcessSpec(
            name=f"broker-{name}",
            argv=[*_UNDERSTUDY, "broker", *flags],
            cwd=ROOT,
            restart=RestartPolicy(initial_s=RESTART_S, max_s=RESTART_S),
            watches_lifeline=True,
        )

    def _node(self, group: str, number: int) -> ProcessSpec:
        return ProcessSpec(
            name=f"{group}-{number}",
            argv=[*_UNDERSTUDY, "node", "examples.cluster.app:runtime", "--group", group],
            own_args=["--id", f"{group}-{number}"],
            env={"UNDERSTUDY_URL": self.url, LEDGER_ENV: str(self.ledger)},
            cwd=ROOT,
            stage=1,
            watches_lifeline=True,
        )

    # Looking at it -------------------------------------------------------------------------------

    async def slots(self) -> Counter[str]:
        """Return how many slots each broker has, as the first of them says that answers."""
        try:
            found = await trio.to_thread.run_sync(read_placement, self.url)
        except UnderstudyError:
            return Counter()
        return Counter(owner for owner in found.owners if owner is not None)

    async def wait_for_slots(self, condition: Callable[[Counter[str]], bool]) -> Counter[str]:
        """Wait until all slots are with brokers, and as the condition wants them."""
        with trio.move_on_after(PATIENCE_S):
            while True:
                slots = await self.slots()
                if slots.total() == SLOTS and condition(slots):
                    return slots
                await trio.sleep(POLL_S)
        raise DemoError(f"the slots are not as they should be after {PATIENCE_S:g} s")

    async def _wait_for_nodes(self) -> None:
        with Runtime(group="demo", url=self.url) as runtime, trio.move_on_after(PATIENCE_S):
            while True:
                report = await trio.to_thread.run_sync(runtime.groups, abandon_on_cancel=True)
                if sum(len(group.nodes) for group in report.groups) >= sum(NODES.values()):
                    return
                await trio.sleep(POLL_S)
        raise DemoError(f"not all nodes have joined within {PATIENCE_S:g} s")

    async def run_command(self, *arguments: str) -> str:
        """Run an ``understudy`` command; return what it prints."""
        done = await trio.run_process(
            [*_UNDERSTUDY, *arguments],
            env={**os.environ, "UNDERSTUDY_URL": self.url},
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return done.stdout.decode().rstrip()

    def charges(self) -> Counter[str]:
        """Return how often each charge was performed."""
        return Counter(self.ledger.read_text().split()) if self.ledger.exists() else Counter()

    # What is done to it --------------------------------------------------------------------------

    async def kill_broker(self) -> tuple[int, int]:
        """Kill a broker with SIGKILL; return its process id, and its number in the database."""
        [(writer,)] = await self._rows("select max(id) from writer where name = %s", VICTIM)
        pid = self._pid(VICTIM)
        if pid is None:
            raise DemoError(f"broker {VICTIM} is not running, so it cannot be killed")
        os.kill(pid, signal.SIGKILL)
        return pid, writer

    async def wait_for_takeover(self, writer: int) -> None:
        """Wait until others have the slots of a broker that was killed.

        The database says it, because brokers are asked in turn, and the dead one is waited for.
        """
        with trio.move_on_after(PATIENCE_S):
            while await self._rows("select 1 from slot where writer = %s limit 1", writer):
                await trio.sleep(POLL_S)
            return
        raise DemoError(f"nobody has taken over from broker {VICTIM} within {PATIENCE_S:g} s")

    async def _rows(self, query: str, value: str | int) -> Sequence[tuple[Any, ...]]:
        return await trio.to_thread.run_sync(rows, self._store, query, value)

    def _pid(self, name: str) -> int | None:
        processes = self._pool.statistics().processes
        return next(each.pid for each in processes if each.name == f"broker-{name}")

    async def stop_broker(self) -> None:
        """Stop a broker in order; return when it is gone."""
        await self._leaver.stop()
