"""Purges do the same in memory and in a file, also when the process is killed between two steps."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.purging import FOREVER, RULES, Side, play
from understudy_store.commands import (
    PromiseCreate,
    PromiseGet,
    PromisePurge,
    PromiseRegisterListener,
    PromiseSettle,
    RetentionRead,
    ScheduleCreate,
    StatsGet,
    StoreCommand,
    TaskAttempts,
    TaskCreate,
    TaskFulfill,
)
from understudy_store.engines.base import Engine, Read
from understudy_store.engines.journaled import journaled_table
from understudy_store.engines.memory import MemoryEngine
from understudy_store.engines.sqlite import journal
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.records import (
    EMPTY,
    TAG_BRANCH,
    TAG_EXTERNAL,
    TAG_ORIGIN,
    TAG_RETENTION,
    TAG_TARGET,
    RetentionRules,
    Value,
)
from understudy_store.retention import EXCESS_MIN_MS, MEMBERS_MAX

ALL = RetentionRules(default=0, idempotency=0)
_numbers = count()


@pytest.fixture(autouse=True)
def small_journals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is brought to the table unasked, so that all is done from memory and journal."""
    monkeypatch.setattr(journal, "HALF_BYTES", journal.RECORD_BYTES_MAX)
    monkeypatch.setattr(journaled_table, "LAG_S", 3600.0)


@pytest.fixture
def kill(tmp_path: Path) -> Callable[[Engine], SqliteEngine]:
    """Open what SIGKILL would leave of an engine at this moment."""

    def killed(engine: Engine) -> SqliteEngine:
        assert isinstance(engine, SqliteEngine)
        copy = tmp_path / f"{next(_numbers)}.db"
        with engine.journaled._append_lock, engine.journaled._table_lock:
            for suffix in ("", "-wal", ".journal"):
                shutil.copy(f"{engine.path}{suffix}", f"{copy}{suffix}")
        engine.close()
        return SqliteEngine(copy)

    return killed


@pytest.fixture(params=["memory", "file"])
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Side]:
    engine: Engine = MemoryEngine()
    if request.param == "file":
        engine = SqliteEngine(tmp_path / "store.db")
    yield Side(engine)
    engine.close()


@pytest.mark.parametrize("seed", range(2))
def test_a_file_does_what_memory_does(
    tmp_path: Path, kill: Callable[[Engine], SqliteEngine], seed: int
) -> None:
    engines: list[Engine] = [SqliteEngine(tmp_path / "first.db")]

    def reopen(engine: Engine) -> Engine:
        engines.append(kill(engine))
        return engines[-1]

    deleted = play(engines[0], reopen, seed, 80)
    engines[-1].close()
    assert deleted > 10


def _status(side: Side, now: int, *commands: StoreCommand) -> list[int]:
    return [reply.status for reply in side.do(now, *commands)]


def _call(id_: str, **tags: str) -> TaskCreate:
    tags = {TAG_TARGET: "poll://any@g", **tags}
    return TaskCreate("p", 10**6, id_, FOREVER, Value({"fn": "f"}), tags)


def _kept() -> dict[str, str]:
    return {TAG_RETENTION: "never"}


def test_a_purged_id_is_refused_until_its_tombstone_is_gone(
    tmp_path: Path, kill: Callable[[Engine], SqliteEngine]
) -> None:
    side = Side(SqliteEngine(tmp_path / "store.db"))
    create = _call("order-7")
    below = {TAG_ORIGIN: "order-7", TAG_BRANCH: "order-7"}
    side.do(1, create, PromiseCreate("order-7.1", FOREVER, EMPTY, below))
    side.do(2, PromiseSettle("order-7.1", "resolved"), PromiseSettle("order-7", "rejected"))
    done, _ = side.purge(RetentionRead("graphs", RULES), 102)
    assert [(each.id, each.promises) for each in done] == [("order-7", 2)]
    # From memory, from the journal after a kill, and from the table.
    asked = (create, PromiseCreate("order-7", FOREVER), PromiseGet("order-7"))
    assert _status(side, 103, *asked) == [410, 410, 410]
    assert "as rejected" in (side.do(103, PromiseGet("order-7"))[0].error or "")
    assert _status(side, 103, PromiseGet("order-7.1")) == [404]
    side.open(kill(side.engine), 103)
    assert _status(side, 103, *asked) == [410, 410, 410]
    side.engine.load()
    assert _status(side, 103, *asked) == [410, 410, 410]
    assert side.everything(103) == []
    assert side.purge(RetentionRead("gone", RULES), 301)[0] == []
    assert len(side.purge(RetentionRead("gone", RULES), 302)[0]) == 1
    assert _status(side, 302, PromiseGet("order-7")) == [404]
    # The id is free, at once, after a kill, and in the table.
    assert _status(side, 303, create) == [201]
    side.open(kill(side.engine), 303)
    assert _status(side, 303, PromiseGet("order-7")) == [200]
    side.engine.load()
    assert _status(side, 304, PromiseGet("order-7"), PromiseSettle("order-7", "resolved")) == [
        200,
        200,
    ]
    side.engine.close()


def test_ids_next_to_tombstones_are_found_absent(tmp_path: Path) -> None:
    """Memory knows which ids are absent; it must not take a tombstone for one of them."""
    side = Side(SqliteEngine(tmp_path / "store.db"))
    for number in range(40):
        side.do(
            1, PromiseCreate(f"o-{number:03}", FOREVER), PromiseSettle(f"o-{number:03}", "resolved")
        )
    side.engine.load()
    while side.purge(PromisePurge(10, limit=7), 10)[0]:
        pass
    for number in range(60):
        wanted = 410 if number < 40 else 201
        assert _status(side, 11, PromiseCreate(f"o-{number:03}", FOREVER)) == [wanted]
    side.engine.close()


def test_what_something_pending_points_to_stays(side: Side) -> None:
    pending = {TAG_ORIGIN: "waits"}
    below = {TAG_ORIGIN: "listened"}
    side.do(
        1,
        _call("waits"),
        PromiseCreate("waits.1", FOREVER, EMPTY, pending),
        PromiseCreate("listened", FOREVER, EMPTY, {TAG_EXTERNAL: "true"}),
        PromiseCreate("listened.1", FOREVER, EMPTY, below),
        PromiseRegisterListener("listened", "poll://uni@g/n"),
        _call("parent"),
        PromiseCreate(
            "parent.away", FOREVER, EMPTY, {TAG_TARGET: "poll://any@g", TAG_BRANCH: "parent"}
        ),
        ScheduleCreate("s", "* * * * *", "last-{timestamp}", 10**6),
    )
    side.do(
        2,
        PromiseSettle("waits", "resolved"),
        PromiseSettle("listened", "resolved"),
        PromiseSettle("listened.1", "resolved"),
        PromiseSettle("parent.away", "resolved"),
    )
    side.machine.sweep(60_000)
    side.machine.due_lookups(60_000)
    side.do(60_000)
    done, cursor = side.purge(RetentionRead("graphs", ALL), 61_000, ALL)
    why = {each.id: each.kept for each in done}
    assert cursor is None
    assert "pending" in (why["waits"] or "")
    assert "points to it" in (why["listened"] or "")
    assert "has started it" in (why["parent.away"] or "")
    side.machine.acknowledge("listened", "poll://uni@g/n")
    side.do(
        61_001,
        PromiseSettle("waits.1", "resolved"),
        PromiseSettle("parent", "resolved"),
    )
    done, _ = side.purge(RetentionRead("graphs", ALL), 61_002, ALL)
    assert {each.id: each.promises for each in done if not each.kept} == {
        "waits": 2,
        "listened": 2,
        "parent": 1,
        "parent.away": 1,
    }


def test_payloads_go_sooner_than_the_row(side: Side) -> None:
    side.do(1, _call("a"), PromiseCreate("a.1", FOREVER, EMPTY, {TAG_ORIGIN: "a"}))
    side.do(2, PromiseSettle("a.1", "resolved"), PromiseSettle("a", "resolved", Value({}, b"v")))
    assert side.purge(RetentionRead("values", RULES), 41)[0] == []
    [done] = side.purge(RetentionRead("values", RULES), 42)[0]
    assert done.promises == 2
    record = side.do(43, PromiseGet("a"))[0].promise
    assert record is not None
    assert record.value == Value({"dropped": "42"})
    assert record.param == Value({"fn": "f"})
    assert record.state == "resolved"
    assert _status(side, 43, PromiseGet("a.1"), _call("a")) == [404, 200]
    assert side.purge(RetentionRead("values", RULES), 60)[0] == []
    [done] = side.purge(RetentionRead("graphs", RULES), 102)[0]
    assert done.promises == 1
    assert _status(side, 103, _call("a")) == [410]


def test_beyond_a_bound_the_oldest_go(side: Side) -> None:
    rules = RetentionRules(max_rows=9, idempotency=None)
    below = {TAG_ORIGIN: "a"}
    side.do(1, _call("a"), PromiseCreate("a.1", FOREVER, EMPTY, below), _call("own", **_kept()))
    side.do(2, PromiseSettle("a.1", "resolved"), PromiseSettle("own", "resolved"))
    side.do(3, PromiseSettle("a", "resolved"))
    for number in range(10):
        side.do(4 + number, _call(f"b{number}"))
        if number != 1:
            side.do(4 + number, PromiseSettle(f"b{number}", "resolved"))
    # There are 13, of which the first four may go: not what is kept, or pending, or has just ended.
    read = RetentionRead("excess", rules)
    assert side.purge(read, EXCESS_MIN_MS + 3, rules)[0] == []
    found = side.engine.search(Read(read, EXCESS_MIN_MS + 90), 1.0)
    assert found.counts == {"excess": 4}
    done, cursor = side.purge(read, EXCESS_MIN_MS + 90, rules)
    assert [(each.id, each.promises) for each in done] == [("a", 2), ("b0", 1), ("b2", 1)]
    assert cursor is None
    assert side.purge(read, EXCESS_MIN_MS + 91, rules)[0] == []
    assert len(side.everything(EXCESS_MIN_MS + 91)) == 9
    # What was counted before is believed.
    read = RetentionRead("excess", rules, excess=1)
    assert [each.id for each in side.purge(read, EXCESS_MIN_MS + 92, rules)[0]] == ["b3"]
    assert _status(side, EXCESS_MIN_MS + 93, _call("a")) == [410]


def test_a_file_that_is_too_large_becomes_smaller(tmp_path: Path) -> None:
    side = Side(SqliteEngine(tmp_path / "store.db"))
    for start in range(0, 1500, 500):
        ids = [f"o-{number:04}" for number in range(start, start + 500)]
        side.do(1, *(PromiseCreate(id_, FOREVER, Value({}, b"x" * 3000)) for id_ in ids))
        side.do(2 + start, *(PromiseSettle(id_, "resolved") for id_ in ids))
    side.engine.load()
    rules = RetentionRules(max_bytes=3 * 2**20)
    deleted, now, cursor = 0, EXCESS_MIN_MS + 5000, None
    while True:
        done, cursor = side.purge(RetentionRead("excess", rules, cursor), now, rules)
        deleted += len(done)
        if cursor is None:
            break
    stats = side.engine.search(Read(StatsGet(), now), 1.0).stats
    assert stats is not None
    assert stats.promises == 1500 - deleted
    assert 400 < deleted < 900
    assert _status(side, now, PromiseGet("o-0000"), PromiseGet("o-1499")) == [404, 200]
    side.engine.close()


def test_a_call_says_how_long_it_is_kept(side: Side) -> None:
    side.do(1, _call("soon", **{TAG_RETENTION: "5"}), _call("never", **{TAG_RETENTION: "never"}))
    side.do(2, PromiseSettle("soon", "resolved"), PromiseSettle("never", "resolved"))
    assert [each.id for each in side.purge(RetentionRead("kept", RULES), 6)[0]] == []
    assert [each.id for each in side.purge(RetentionRead("kept", RULES), 7)[0]] == ["soon"]
    assert side.purge(RetentionRead("graphs", RULES), FOREVER)[0] == []
    assert side.purge(RetentionRead("kept", RULES), FOREVER)[0] == []
    assert _status(side, 8, _call("bad", **{TAG_RETENTION: "1d"})) == [400]


def test_what_is_in_use_in_the_same_batch_stays(side: Side) -> None:
    side.do(1, PromiseCreate("a", FOREVER), PromiseSettle("a", "resolved"))
    found = side.engine.search(Read(RetentionRead("graphs", ALL), 5), 1.0)
    machine = side.machine
    machine.load(side.engine.find(machine.lookups([PromiseCreate("a", FOREVER)])))
    [done] = machine.purge("graphs", found.ended or [], ALL, 5)
    assert done.kept == "it is in use"
    assert machine.apply(PromiseCreate("a", FOREVER), 5).status == 200
    assert not machine.take()


def test_of_a_large_graph_the_root_goes_last(side: Side) -> None:
    side.do(1, PromiseCreate("a", FOREVER), PromiseSettle("a", "resolved"))
    count = MEMBERS_MAX + 10
    ids = [f"a.{number}" for number in range(count)]
    side.do(1, *(PromiseCreate(id_, FOREVER, EMPTY, {TAG_ORIGIN: "a"}) for id_ in ids))
    side.do(2, *(PromiseSettle(id_, "resolved") for id_ in ids))
    [first], cursor = side.purge(RetentionRead("graphs", ALL), 5, ALL)
    assert (first.promises, first.kept) == (MEMBERS_MAX, None)
    assert _status(side, 5, PromiseGet("a")) == [200]
    [second], cursor = side.purge(RetentionRead("graphs", ALL, cursor), 5, ALL)
    assert second.promises == count - MEMBERS_MAX + 1
    assert cursor is None
    assert side.everything(5) == []


def test_attempts_go_with_their_task(side: Side) -> None:
    side.do(1, _call("a"))
    side.do(2, TaskFulfill("a", 1, "rejected", Value({"error": "E"})))
    assert side.engine.search(Read(TaskAttempts("a"), 3), 1.0).attempts
    side.purge(RetentionRead("graphs", ALL), 3, ALL)
    assert side.engine.search(Read(TaskAttempts("a"), 3), 1.0).attempts == []


def test_disk_space_is_given_back(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "store.db")
    side = Side(engine)
    for start in range(0, 1500, 500):
        ids = [f"o-{number}" for number in range(start, start + 500)]
        side.do(1, *(PromiseCreate(id_, FOREVER, Value({}, b"x" * 3000)) for id_ in ids))
        side.do(2, *(PromiseSettle(id_, "resolved") for id_ in ids))
    engine.load()
    [pages] = engine.database._driver.execute("PRAGMA page_count").fetchone()
    while side.purge(RetentionRead("graphs", ALL), 10, ALL)[0]:
        engine.load()
    [left] = engine.database._driver.execute("PRAGMA page_count").fetchone()
    assert left < pages / 2
    engine.close()
