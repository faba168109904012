"""Lists of calls and attempt logs: all engines tell the same, in pages, from the right index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import create_engine, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from tests.unit.store.samples import row, settled, targeted
from understudy_store.calls import call_of
from understudy_store.changes import Changes
from understudy_store.commands import CallSearch, TaskAttempts
from understudy_store.engines.base import Engine, Read
from understudy_store.engines.memory import MemoryEngine
from understudy_store.engines.schemes import open_engine
from understudy_store.engines.sql.tables import Promise, table
from understudy_store.engines.sqlite.database import QUERIES
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.records import (
    FAILED_STATES,
    FIRST_ATTEMPTS_KEPT,
    LAST_ATTEMPTS_KEPT,
    TAG_ORIGIN,
    AttemptRecord,
    CallRecord,
    Row,
    Value,
)

NOW = 1000


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    engine: Engine
    if request.param == "memory":
        engine = MemoryEngine()
    elif request.param == "sqlite":
        engine = SqliteEngine(tmp_path / "x.db")
    else:
        engine = open_engine(request.getfixturevalue("postgres").new_schema())
    yield engine
    engine.close()


def made(id_: str, created_at: int, state: str = "pending", settled_at: int = 0) -> Row:
    """Return a root call; a failed one has an error of the class that its id begins with."""
    found = targeted(id_, k=id_[0])
    promise = replace(found.promise, created_at=created_at)
    if state == "pending":
        return replace(found, promise=promise)
    ended = settled(replace(found, promise=promise), settled_at)
    value = Value({"error": f"shop.{id_[0]}"} if state == "rejected" else {})
    return replace(ended, promise=replace(ended.promise, state=state, value=value))


ROWS = [
    made("a1", 10),
    made("a2", 10, "rejected", 50),
    made("b1", 20, "resolved", 21),
    made("b2", 30, "rejected", 40),
    made("b3", 30, "rejected_timedout", 60),
    made("c1", 30, "rejected_canceled", 31),
    targeted("c1.1", **{TAG_ORIGIN: "c1"}),
    row("p"),
]


def asked(engine: Engine, search: CallSearch) -> list[CallRecord]:
    """Return what a search finds, page by page."""
    found: list[CallRecord] = []
    cursor: str | None = None
    while True:
        reply = engine.search(Read(replace(search, cursor=cursor), NOW), 5.0)
        assert reply.calls is not None
        assert len(reply.calls) <= search.limit
        found += reply.calls
        cursor = reply.cursor
        if cursor is None:
            return found


@pytest.mark.parametrize(
    ("search", "ids"),
    [
        (CallSearch(), "c1 b3 b2 b1 a2 a1"),
        (CallSearch(limit=2), "c1 b3 b2 b1 a2 a1"),
        (CallSearch(("pending",)), "a1"),
        (CallSearch(("pending", "rejected")), "b2 a2 a1"),
        (CallSearch(FAILED_STATES, limit=1), "b3 a2 b2 c1"),
        (CallSearch(("rejected",), since=45), "a2"),
        (CallSearch(("rejected",), error="b"), "b2"),
        (CallSearch(("rejected",), error="shop.b"), "b2"),
        (CallSearch(("rejected",), error="hop.b"), ""),
        (CallSearch(since=20, until=30), "b1"),
        (CallSearch(function="f", group="g", tags={"k": "b"}), "b3 b2 b1"),
        (CallSearch(function="g"), ""),
        (CallSearch(group="h"), ""),
        (CallSearch(prefix="a"), "a2 a1"),
        (CallSearch(slow_ms=30), "b3 a2 a1"),
    ],
)
def test_a_search_finds(engine: Engine, search: CallSearch, ids: str) -> None:
    epoch = engine.load().epoch
    engine.commit(Changes(1, inserted=ROWS[:4]), [], epoch)
    engine.commit(Changes(2, inserted=[made("b3", 30), *ROWS[5:]]), [], epoch)
    engine.search(Read(CallSearch(), NOW), 5.0)  # so the rest is an update in the tables
    engine.commit(Changes(3, updated=[ROWS[4]]), [], epoch)
    assert " ".join(call.id for call in asked(engine, search)) == ids
    counts = engine.search(Read(replace(search, limit=1, counts=True), NOW), 5.0).counts
    assert sum((counts or {}).values()) == len(ids.split())


def test_a_call_is_shown_as_its_row_says(engine: Engine) -> None:
    epoch = engine.load().epoch
    engine.commit(Changes(1, inserted=ROWS), [], epoch)
    rows = {row.promise.id: row for row in ROWS}
    for call in asked(engine, CallSearch()):
        assert call == call_of(rows[call.id])
    [failed] = asked(engine, CallSearch(("rejected",), function="f", since=45))
    assert (failed.function, failed.error, failed.tags["k"]) == ("f", "shop.a", "a")


def test_the_log_keeps_the_first_and_the_last(engine: Engine) -> None:
    epoch = engine.load().epoch
    engine.commit(Changes(1, inserted=[targeted("a"), targeted("b")]), [], epoch)
    attempts = [
        AttemptRecord("a", n, n, "raised", n, "n1", "h", n + 1, n + 2, "E", f"attempt {n}")
        for n in range(1, 61)
    ]
    for first in range(0, 60, 5):
        changes = Changes(first + 2, updated=[targeted("a")], attempts=attempts[first : first + 5])
        engine.commit(changes, [], epoch)
        if first % 15 == 0:
            engine.search(Read(TaskAttempts("a"), NOW), 5.0)  # brings them to the tables
    kept = engine.search(Read(TaskAttempts("a"), NOW), 5.0).attempts
    assert kept == attempts[:FIRST_ATTEMPTS_KEPT] + attempts[-LAST_ATTEMPTS_KEPT:]
    assert engine.search(Read(TaskAttempts("b"), NOW), 5.0).attempts == []
    assert engine.search(Read(TaskAttempts("none"), NOW), 5.0).attempts == []


@pytest.mark.parametrize(
    ("search", "index"),
    [
        (CallSearch(), "call_created"),
        (CallSearch(since=5, cursor="7:a", prefix="a", tags={"k": "1"}), "call_created"),
        (CallSearch(("resolved",), slow_ms=5), "call_created"),
        (CallSearch(FAILED_STATES, since=5, function="f", group="g"), "call_failed"),
        (CallSearch(("rejected",), error="E"), "call_failed"),
        (CallSearch(("pending",), since=5, function="f", group="g"), "call_live"),
        (CallSearch(function="f", group="g", since=5), "call_function"),
        (CallSearch(group="g"), "call_group"),
    ],
)
def test_a_list_is_read_from_its_index(search: CallSearch, index: str) -> None:
    """Whatever the order is in which the indexes were made: SQLite goes by that, too."""
    indexes = sorted(table(Promise).indexes, key=lambda made: str(made.name))
    for in_order in (indexes, indexes[::-1]):
        with create_engine("sqlite://").connect() as connection:
            connection.execute(CreateTable(table(Promise)))
            for each in in_order:
                each.create(connection)
            for query in (QUERIES.search_calls(search, NOW), QUERIES.count_calls(search, NOW)):
                made = query.compile(
                    dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}
                )
                plan = connection.execute(text(f"EXPLAIN QUERY PLAN {made}")).fetchall()
                assert any(f"USING INDEX {index}" in step[3] for step in plan), plan
