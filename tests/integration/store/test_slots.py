"""Slots in SQLite's file: stored with each row, and brought into older stores."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine

from tests.unit.store.samples import DEADLINE, row, settled, targeted
from understudy_store.changes import Changes
from understudy_store.engines.base import SOLE_EPOCH
from understudy_store.engines.sql import migrations
from understudy_store.engines.sql.tables import APPLICATION_ID
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.errors import StoreVersionError
from understudy_store.records import EMPTY, TAG_ORIGIN, ScheduleRecord
from understudy_store.slots import slot_of

ARCHIVE = Path(__file__).parent / "old_stores" / "killed-87cb738.tar.xz"
#: table, and the column by whose text a row has its slot
KEYS = {
    "promise": "id",
    "callback": "awaited",
    "listener": "awaited",
    "unblock": "promise_id",
    "schedule": "id",
}
#: rows of each table in `_older`
ROWS = 40


def _slots(path: Path) -> dict[str, dict[str, int]]:
    """Return the slots in the file, by table and key."""
    with closing(sqlite3.connect(path)) as file:
        return {
            name: dict(file.execute(f"SELECT {key}, slot FROM {name}").fetchall())
            for name, key in KEYS.items()
        }


def _check(path: Path, **counts: int) -> None:
    slots = _slots(path)
    assert {name: len(found) for name, found in slots.items()} == counts
    for found in slots.values():
        assert found == {id_: slot_of(id_) for id_ in found}


def test_each_row_has_the_slot_of_its_home(tmp_path: Path) -> None:
    """Also in the rows of one batch that come after those of another home."""
    path = tmp_path / "x.db"
    engine = SqliteEngine(path)
    engine.load()
    children = [row(f"order-7.{n}", **{TAG_ORIGIN: "order-7"}) for n in (1, 2)]
    elsewhere = row("mine-7", **{TAG_ORIGIN: "order-7"})
    below = row("mine-7.1", **{TAG_ORIGIN: "order-7"})
    over = settled(targeted("order-8.detached"))
    inserted = [targeted("order-7"), *children, elsewhere, below, over, row("order-9")]
    schedules = [
        ScheduleRecord(id_, "* * * * *", "{id}.{timestamp}", 1, EMPTY, {}, 5, 1)
        for id_ in ("daily", "acme.daily")
    ]
    engine.commit(
        Changes(
            1,
            inserted,
            callbacks_added=[("order-7.1", "order-7"), ("mine-7", "order-7")],
            listeners_added=[("order-7.1", "poll://any@g"), ("order-9", "poll://any@g")],
            unblocks_added=[("order-8.detached", "poll://any@g")],
            schedules_put=schedules,
        ),
        [],
        SOLE_EPOCH,
    )
    engine.close()
    _check(path, promise=7, callback=2, listener=2, unblock=1, schedule=2)


def test_a_store_that_was_killed_gets_its_slots(tmp_path: Path) -> None:
    """Those that only its journal has, too."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    SqliteEngine(tmp_path / "store.db").close()
    slots = _slots(tmp_path / "store.db")
    assert {"checkout.2", "priced-1", "last-39"} <= slots["promise"].keys()
    assert slots["callback"]
    assert slots["schedule"] == {"yearly": slot_of("yearly")}
    _check(tmp_path / "store.db", **{name: len(found) for name, found in slots.items()})


def _older(path: Path) -> None:
    """Make a store of the schema before slots, with `ROWS` rows in each table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "HEAD", "0005")
        with create_engine(f"sqlite:///{path}", poolclass=NullPool).begin() as connection:
            connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
            migrations.upgrade(connection)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("PRAGMA journal_mode=WAL").fetchall()
        for n in range(ROWS):
            id_ = f"order-{n}.1"
            file.execute(
                "INSERT INTO promise (id, state, param_headers, value_headers, tags, timeout_at, "
                "created_at, origin, shard) VALUES (?, 'pending', '{}', '{}', '{}', ?, 1, ?, ?)",
                (id_, DEADLINE, f"order-{n}", 65_535),
            )
            file.execute("INSERT INTO callback VALUES (?, ?)", (id_, f"order-{n}"))
            file.execute("INSERT INTO listener VALUES (?, 'poll://any@g')", (id_,))
            file.execute("INSERT INTO unblock VALUES (?, 'poll://any@g')", (id_,))
            file.execute(
                "INSERT INTO schedule VALUES (?, ?, '{id}', 1, '{}', NULL, '{}', 5, 1, 0)",
                (f"daily-{n}", "* * * * *"),
            )


def _content(path: Path) -> str:
    """Return all that is in the file, after SQLite has brought back what a crash left."""
    with closing(sqlite3.connect(path)) as file:
        return "\n".join(file.iterdump())


#: opens a store in a process that is killed when the slot of the n-th row is asked for
_KILLED = """
import os, signal, sys
from pathlib import Path
from understudy_store import slots

left, slot_of = int(sys.argv[2]), slots.slot_of

def until_then(id_):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return slot_of(id_)

slots.slot_of = until_then
from understudy_store.engines.sqlite.engine import SqliteEngine
SqliteEngine(Path(sys.argv[1])).close()
"""


@pytest.mark.parametrize("at", [1, ROWS, 2 * ROWS + 5, 5 * ROWS])
def test_a_migration_that_is_killed_half_way_begins_anew(at: int, tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    _older(path)
    before = _content(path)
    command = [sys.executable, "-c", _KILLED, str(path), str(at)]
    assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL
    assert _content(path) == before
    engine = SqliteEngine(path)
    snapshot = engine.load()
    assert len(list(snapshot.live)) == len(list(snapshot.callbacks)) == ROWS
    assert {schedule.last_run_at for schedule in snapshot.schedules} == {0}
    engine.close()
    _check(path, **dict.fromkeys(KEYS, ROWS))


def test_an_older_release_refuses_a_store_with_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.db"
    SqliteEngine(path).close()
    before = path.read_bytes()
    *older, latest = migrations.REVISIONS
    monkeypatch.setattr(migrations, "REVISIONS", tuple(older))
    monkeypatch.setattr(migrations, "HEAD", migrations.REVISIONS[-1])
    says = rf"schema {latest}; .* up to {older[-1]}.*upgrade understudy"
    with pytest.raises(StoreVersionError, match=says):
        SqliteEngine(path)
    assert path.read_bytes() == before
