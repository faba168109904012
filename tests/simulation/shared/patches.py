"""Puts the engine into a simulated world: its threads, its clocks and its driver.

The engine itself is the product's, with all that it decides and every statement in its order. What
it takes from the system is replaced while a world is played.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.shared import driver, threads
from understudy_store import store
from understudy_store.engines.journaled import journaled_table, searcher, view
from understudy_store.engines.postgres import (
    connections,
    engine,
    first_id,
    keeper,
    log,
    opening,
    pulse,
    table,
    writer,
)
from understudy_store.engines.sql.migrations import HEAD

if TYPE_CHECKING:
    import random

_TIME: Final = {"time": threads.Time}
_EVENT: Final = {"Event": threads.Event}
_LOCK: Final = {"Lock": threads.Lock}
_THREAD: Final = {"Thread": threads.Thread}


class _Pinging:
    """Of a server that is away, as all are that are not connected to."""

    @staticmethod
    def ping(_: bytes) -> None:
        return None


class Secrets:
    """The module `secrets`, with numbers that a seed decides."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def randbelow(self, bound: int) -> int:
        return int(self._rng.random() * bound)


def _looked_at(connection: driver.SimConnection, *_: object) -> None:
    """Do nothing: the settings of the model are right."""


REPLACED: Final[Mapping[ModuleType, Mapping[str, Any]]] = {
    store: {**_THREAD, **_LOCK, "SimpleQueue": threads.SimpleQueue},
    journaled_table: {**_TIME, **_THREAD, **_LOCK, **_EVENT},
    searcher: _EVENT,
    view: _LOCK,
    log: {"Prepared": driver.SimPrepared},
    connections: {**_TIME, **_LOCK, **_EVENT},
    engine: {**_TIME, **_LOCK, "Connector": driver.SimConnector},
    keeper: {**_TIME, **_THREAD, **_LOCK, **_EVENT},
    opening: {
        **_TIME,
        "PGconn": _Pinging,
        "_Core": driver.SimCore,
        "_driver_of": lambda core: core.driver,
        "check_server": _looked_at,
        "lock": lambda core, _schema: core.driver.call("lock of openings", None),
        "revision_of": lambda *_: HEAD,
    },
    first_id: {**_LOCK, "Prepared": driver.SimPrepared},
    pulse: {**_THREAD, **_EVENT},
    table: {
        **_TIME,
        **_LOCK,
        "Queries": driver.SimQueries,
    },
    writer: {"secrets": None},
}


@contextmanager
def in_world(database: driver.Database, rng: random.Random) -> Iterator[None]:
    """Let engines work in a simulated world meanwhile."""
    before: list[tuple[ModuleType, str, Any]] = []
    driver.SimConnector.database = database
    try:
        for module, names in REPLACED.items():
            for name, made in names.items():
                before.append((module, name, getattr(module, name)))
                setattr(module, name, Secrets(rng) if name == "secrets" else made)
        yield
    finally:
        for module, name, old in before:
            setattr(module, name, old)


def unreplaced(package: str) -> list[str]:
    """Return what modules of a package take from the system and no world replaces."""
    found = []
    replaced = {module.__name__: names for module, names in REPLACED.items()}
    for name, module in sorted(sys.modules.items()):
        if name.startswith(package) and module is not None:
            tree = ast.parse(inspect.getsource(module))
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom | ast.Import):
                    origin = getattr(node, "module", None)
                    for alias in node.names:
                        of = origin or alias.name
                        known = alias.asname or alias.name
                        unknown = known not in replaced.get(name, {})
                        if of in _OF_SYSTEM and unknown and (name, known) not in _UNUSED:
                            found.append(f"{name} takes {known} from {of}")
    return found


#: Used where a schema is made, which a world does not.
_UNUSED: Final = {("understudy_store.engines.postgres.schema", "secrets")}
_OF_SYSTEM: Final = frozenset({"threading", "time", "queue", "secrets", "random"})
