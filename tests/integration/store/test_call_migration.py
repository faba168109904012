"""A store of the revision before the record: its calls are in lists once it is opened."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from msgspec.structs import replace

from tests.unit.store.samples import row, settled, targeted
from understudy.values.codec import Codec
from understudy_store.changes import Changes
from understudy_store.commands import CallSearch, TaskAttempts
from understudy_store.engines.base import SOLE_EPOCH, Read
from understudy_store.engines.sql import migrations
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.records import TAG_ORIGIN, AttemptRecord, Row, Value

_ADDED = ("node", "started_at", "acquired_at", "queued_at", "suspensions", "logged")


def make_of_revision_0008(path: Path) -> None:
    """Take back what the revision after it has made."""
    with closing(sqlite3.connect(path)) as file, file:
        for (name,) in file.execute(
            "SELECT name FROM sqlite_master WHERE name LIKE 'call\\_%' ESCAPE '\\' "
            "OR name IN ('promise_ended', 'promise_kept', 'promise_gone', 'promise_stray')"
        ).fetchall():
            file.execute(f"DROP INDEX {name}")
        for name in ("plan", "course"):
            file.execute(f"ALTER TABLE schedule DROP COLUMN {name}")
        for name in (*_ADDED, "function", "error", "retention"):
            file.execute(f"ALTER TABLE promise DROP COLUMN {name}")
        file.execute("DROP TABLE attempt")
        file.execute("UPDATE alembic_version SET version_num = '0008'")


def failed(id_: str, data: bytes | None) -> Row:
    found = settled(targeted(id_), at=7)
    return replace(found, promise=replace(found.promise, state="rejected", value=Value({}, data)))


def test_calls_that_are_there_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    engine = SqliteEngine(path)
    engine.load()
    many = [failed(f"m{n:04}", Codec().encode_error(KeyError(n))) for n in range(1200)]
    rows = [
        targeted("running"),
        failed("unreadable", b"\xc1"),
        failed("without", None),
        targeted("child", **{TAG_ORIGIN: "running"}),
        row("promise"),
        *many,
    ]
    engine.commit(Changes(9, inserted=rows), [], SOLE_EPOCH)
    engine.close()
    make_of_revision_0008(path)
    engine = SqliteEngine(path)
    engine.load()

    def found(search: CallSearch) -> dict[str, str | None]:
        calls = engine.search(Read(search, 10), 5.0).calls
        return {call.id: call.error for call in calls or ()}

    assert found(CallSearch(("pending",))) == {"running": None}
    errors = found(CallSearch(("rejected",), limit=1000, function="f"))
    assert (errors["unreadable"], errors["without"], errors["m1199"]) == (None, None, "KeyError")
    assert len(found(CallSearch(error="KeyError", states=("rejected",), limit=1000))) == 1000
    # It goes on from there, and a log that is empty fills.
    attempt = AttemptRecord("running", 1, 1, "raised", 11, "n1", text="no")
    changes = Changes(11, updated=[targeted("running")], attempts=[attempt])
    engine.commit(changes, [], SOLE_EPOCH)
    assert engine.search(Read(TaskAttempts("running"), 11), 5.0).attempts == [attempt]
    engine.close()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT * FROM alembic_version").fetchall() == [(migrations.HEAD,)]
