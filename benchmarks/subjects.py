"""The product and the floor, as subjects of the harness."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version

from benchmarks.floor.parent import Parent, running
from benchmarks.harness import Figures
from benchmarks.ours import deployed
from benchmarks.workloads import MODULES, memory
from understudy import Runtime

SYNCED = "a commit is synced to the disk before it is answered"
NODES = 2


@dataclass
class _Open:
    """Runs what a module offers under `name`, on `driven`."""

    name: str
    driven: Runtime | Parent
    broker: int
    nodes: list[int]

    def run(self, workload: str, size: int) -> Figures | None:
        if workload == memory.WORKLOAD.name:
            return memory.of([self.broker], self.nodes)
        function = getattr(MODULES[workload], self.name, None)
        return None if function is None else function(self.driven, size)


class _Alone:
    def run(self, workload: str, size: int) -> Figures | None:
        figures: Figures | None = MODULES[workload].alone(size)
        return figures


class _Absent:
    def run(self, _workload: str, _size: int) -> None:
        return None


@dataclass
class Understudy:
    """As its users start it, with its defaults."""

    name: str = "understudy"
    durability: str = f"a journal before SQLite: {SYNCED}; tcp on loopback, {NODES} node processes"
    synced: bool = True

    @contextmanager
    def open(self) -> Iterator[_Open]:
        with deployed(NODES) as (ours, client):
            pids = [process.pid for process in ours.processes.values()]
            yield _Open(self.name, client, pids[0], pids[1:])

    def alone(self) -> _Alone:
        return _Alone()

    def versions(self) -> dict[str, str]:
        return {"understudy": version("understudy")}


@dataclass
class Floor:
    """The bare pipeline."""

    name: str = "floor"
    durability: str = (
        f"SQLite, WAL, synchronous=FULL: {SYNCED}; tcp on loopback, {NODES} node processes; "
        "no semantics"
    )
    synced: bool = True
    parts: tuple[str, ...] = field(default=("pyzmq", "msgspec", "sqlalchemy"))

    @contextmanager
    def open(self) -> Iterator[_Open]:
        with running(NODES) as parent:
            yield _Open(self.name, parent, parent.pids[0], parent.pids[1:])

    def alone(self) -> _Absent:
        return _Absent()

    def versions(self) -> dict[str, str]:
        return {
            "sqlite": sqlite3.sqlite_version,
            **{name: version(name) for name in self.parts},
        }
