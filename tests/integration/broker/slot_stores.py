"""Stores of brokers that share the slots, filled, read and moved without any broker."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeAlias

from tests.unit.store.samples import row, settled, targeted
from understudy_broker.protocol.placement import shared_out
from understudy_broker.server.placement import KEY, Placement, from_text, placement_of, to_text
from understudy_store.changes import Changes
from understudy_store.engines.base import SOLE_EPOCH
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.records import EMPTY, TAG_BRANCH, TAG_ORIGIN, ScheduleRecord
from understudy_store.slots import SLOTS, slot_of

ADDRESSES: Final = {name: f"tcp://{name}:5577" for name in "abc"}
#: rows by table; those of `meta` are not of any slot
Rows: TypeAlias = dict[str, set[tuple[Any, ...]]]
_TABLES: Final = ("promise", "callback", "listener", "unblock", "schedule")


def path_of(directory: Path, name: str) -> Path:
    return directory / f"understudy-{name}.db"


def placement_in(path: Path) -> Placement:
    engine = SqliteEngine(path)
    try:
        found = from_text(engine.fact(KEY), str(path))
    finally:
        engine.close()
    assert found is not None
    return found


def put_placement(path: Path, placement: Placement) -> None:
    engine = SqliteEngine(path)
    engine.put_fact(KEY, to_text(placement))
    engine.close()


def make_stores(directory: Path, names: str = "ab", homes: int = 600) -> None:
    """Make stores that share the slots, each with all kinds of rows of its own homes."""
    slots = shared_out([(name, ADDRESSES[name]) for name in names])
    for number, name in enumerate(names):
        path = path_of(directory, name)
        placement = placement_of(slots, "shop", name)
        put_placement(path, placement)
        own = set(placement.own)
        fill(path, [f"h{n}" for n in range(homes) if slot_of(f"h{n}") in own], 1000 + number)


def fill(path: Path, homes: list[str], now: int) -> None:
    """Give each home calls, history, callbacks, listeners, unblocks and schedules."""
    changes = Changes(now=now)
    for home in homes:
        tags = {TAG_ORIGIN: home, TAG_BRANCH: home}
        done = settled(targeted(f"{home}.1", **tags))
        changes.inserted += [targeted(home), done, row(f"{home}.2", **tags)]
        changes.callbacks_added.append((f"{home}.2", home))
        changes.listeners_added.append((f"{home}.2", "poll://any@g"))
        changes.unblocks_added.append((f"{home}.1", "poll://any@g"))
        changes.schedules_put.append(
            ScheduleRecord(f"{home}.daily", "0 3 * * *", "x", 1, EMPTY, {}, 2, 1, None)
        )
    engine = SqliteEngine(path)
    engine.load()
    engine.commit(changes, [], SOLE_EPOCH)
    engine.close()


def rows_in(path: Path, only: set[int] | None = None) -> Rows:
    """Return the rows of a store that nobody has open, of some slots."""
    found: Rows = {}
    with closing(sqlite3.connect(path)) as file:
        for name in _TABLES:
            cursor = file.execute(f"SELECT * FROM {name}")
            names = [column[0] for column in cursor.description]
            order, slot = sorted(range(len(names)), key=names.__getitem__), names.index("slot")
            found[name] = {
                tuple(values[place] for place in order)
                for values in cursor
                if only is None or values[slot] in only
            }
    return found


def now_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as file:
        [(now,)] = file.execute("SELECT value FROM meta WHERE key = 'now'")
        return int(now)


def both(one: Rows, other: Rows) -> Rows:
    """Return the rows of two stores together."""
    return {name: one[name] | other[name] for name in _TABLES}


def check_complete(directory: Path, before: Rows, names: str = "ab") -> None:
    """Check that stores have all rows, each in the one store that owns its slot."""
    owned: set[int] = set()
    found: Rows = {name: set() for name in _TABLES}
    for name in names:
        path = path_of(directory, name)
        placement = placement_in(path)
        own = set(placement.own)
        assert not owned & own
        assert not placement.leaving
        owned |= own
        rows = rows_in(path)
        assert rows == rows_in(path, own), f"{name} has rows of slots of others"
        found = both(found, rows)
    assert owned == set(range(SLOTS))
    assert found == before
