"""The product and the bare pipeline, as subjects of the harness."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version

from benchmarks.bare_pipeline.parent import Parent, running
from benchmarks.deployment import deployed
from benchmarks.harness import Figures
from benchmarks.workloads import MODULES, memory
from understudy import Runtime

SYNCED = "a commit is synced to the disk before it is answered"
NODES = 2


@dataclass
class _Open:
    """Runs the function called `function` of each workload's module, on `driven`."""

    function: str
    driven: Runtime | Parent
    broker: int
    nodes: list[int]

    def run(self, workload: str, size: int) -> Figures | None:
        if workload == memory.WORKLOAD.name:
            return memory.of([self.broker], self.nodes)
        function = getattr(MODULES[workload], self.function, None)
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
    """The product, started as its users start it, with its defaults."""

    name: str = "understudy"
    durability: str = f"a journal before SQLite: {SYNCED}; tcp on loopback, {NODES} node processes"
    synced: bool = True

    @contextmanager
    def open(self) -> Iterator[_Open]:
        with deployed(NODES) as (deployment, client):
            pids = [process.pid for process in deployment.processes.values()]
            yield _Open("understudy", client, pids[0], pids[1:])

    def alone(self) -> _Alone:
        return _Alone()

    def versions(self) -> dict[str, str]:
        return {"understudy": version("understudy")}


@dataclass
class BarePipeline:
    """The bare pipeline."""

    name: str = "bare pipeline"
    durability: str = (
        f"SQLite, WAL, synchronous=FULL: {SYNCED}; tcp on loopback, {NODES} node processes; "
        "no semantics"
    )
    synced: bool = True
    parts: tuple[str, ...] = field(default=("pyzmq", "msgspec", "sqlalchemy"))

    @contextmanager
    def open(self) -> Iterator[_Open]:
        with running(NODES) as parent:
            yield _Open("bare_pipeline", parent, parent.pids[0], parent.pids[1:])

    def alone(self) -> _Absent:
        return _Absent()

    def versions(self) -> dict[str, str]:
        return {
            "sqlite": sqlite3.sqlite_version,
            **{name: version(name) for name in self.parts},
        }
