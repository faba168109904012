"""Bounds of pages, refusals, and which index each read uses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Select, create_engine
from sqlalchemy.dialects import sqlite

from tests.unit.store.samples import DEADLINE, row, settled, targeted
from understudy_store.changes import Changes
from understudy_store.commands import (
    PromiseSearch,
    ReadCommand,
    Reply,
    ScheduleSearch,
    TaskPreload,
    TaskSearch,
)
from understudy_store.engines.base import SOLE_EPOCH, Engine, Opening, Read
from understudy_store.engines.memory import MemoryEngine
from understudy_store.engines.schemes import open_engine
from understudy_store.engines.searches import PAGE_BYTES_MAX, page, prefix_end, promise_bytes
from understudy_store.engines.sql.statements import BatchStatement
from understudy_store.engines.sql.tables import METADATA
from understudy_store.engines.sqlite.database import QUERIES, STATEMENTS
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.errors import StoreError, StoreFormatError
from understudy_store.machine.projection import projected, projected_row
from understudy_store.records import (
    EMPTY,
    TAG_BRANCH,
    TAG_ORIGIN,
    TAG_TIMER,
    Row,
    ScheduleRecord,
    TaskRecord,
    Value,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


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


@pytest.fixture
def epoch(engine: Engine) -> int:
    return engine.load().epoch


@given(prefix=texts, text=texts)
def test_prefix_end_bounds_exactly_what_begins_so(prefix: str, text: str) -> None:
    end = prefix_end(prefix)
    assert (prefix <= text and (end is None or text < end)) == text.startswith(prefix)
    assert end is None or prefix < end


def test_pages_follow_each_other(engine: Engine, epoch: int) -> None:
    ids = [f"p.{n:02}" for n in range(10)]
    engine.commit(Changes(1, inserted=[row(id_) for id_ in ids]), [], epoch)
    found: list[str] = []
    cursor, pages_count = None, 0
    while True:
        [reply] = engine.commit(Changes(0), [Read(PromiseSearch(limit=5, cursor=cursor), 1)], epoch)
        assert reply.promises is not None
        found += [promise.id for promise in reply.promises]
        cursor, pages_count = reply.cursor, pages_count + 1
        if cursor is None:
            break
    assert found == ids
    assert pages_count == 2  # the last page knows that it is the last, also where it is full


@given(
    sizes=st.lists(st.integers(0, 9), max_size=30),
    limit=st.integers(1, 12),
    bound=st.integers(0, 20),
)
def test_pages_together_are_everything(sizes: list[int], limit: int, bound: int) -> None:
    """Whatever the limit and the bound in bytes are; and each page keeps to both."""
    items = [(f"{place:02}", size) for place, size in enumerate(sizes)]
    found: list[tuple[str, int]] = []
    cursor: str | None = ""
    while cursor is not None:
        taken = 0
        rest = [item for item in items if item[0] > cursor]

        def read(rest: list[tuple[str, int]] = rest) -> Iterator[tuple[str, int]]:
            nonlocal taken
            for item in rest:
                taken += 1
                yield item

        kept, cursor = page(read(), limit, lambda item: item[0], lambda item: item[1], bound)
        assert len(kept) <= limit
        assert sum(size for _, size in kept[1:]) <= bound
        assert bool(kept) == bool(rest)
        assert taken <= len(kept) + 1
        if cursor is not None:
            longer = rest[: len(kept) + 1]
            assert len(longer) > limit or sum(size for _, size in longer[1:]) > bound
        found += kept
    assert found == items


MANY_SIZES = [0, PAGE_BYTES_MAX - 9, 1, 2 * PAGE_BYTES_MAX, 3, *([PAGE_BYTES_MAX // 3] * 6), 0, 0]


def _pages(
    engine: Engine, epoch: int, command: PromiseSearch | TaskSearch | ScheduleSearch
) -> list[Reply]:
    replies = []
    while True:
        [reply] = engine.commit(Changes(0), [Read(command, 1)], epoch)
        replies.append(reply)
        if reply.cursor is None:
            return replies
        command = msgspec.structs.replace(command, cursor=reply.cursor)


@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_pages_end_at_a_bound_in_bytes(engine: Engine, epoch: int, limit: int) -> None:
    """Memory is bounded whatever is asked for. Half of the data is in the value."""
    rows = []
    for place, size in enumerate(MANY_SIZES):
        done = settled(targeted(f"p.{place:02}", mine="yes")).promise
        param, value = Value({"fn": "f"}, b"p" * (size // 2)), Value({}, b"v" * (size - size // 2))
        task = TaskRecord(done.id, "fulfilled", 1, "poll://any@g")
        rows.append(Row(msgspec.structs.replace(done, param=param, value=value), task))
        rows.append(row(f"p.{place:02}.other"))
    engine.commit(Changes(1, inserted=rows), [], epoch)
    replies = _pages(engine, epoch, PromiseSearch(tags={"mine": "yes"}, limit=limit))
    found = [promise for reply in replies for promise in reply.promises or ()]
    assert found == [each.promise for each in rows[::2]]
    for reply in replies:
        sizes = [promise_bytes(promise) for promise in reply.promises or ()]
        assert sizes
        assert sum(sizes[1:]) <= PAGE_BYTES_MAX
    if limit == 1000:
        assert 3 < len(replies) < len(MANY_SIZES)
    replies = _pages(engine, epoch, TaskSearch(limit=limit))
    tasks = [task for reply in replies for task in reply.tasks or ()]
    assert tasks == [each.task for each in rows[::2]]
    assert len(replies) == -(-len(tasks) // limit)  # a task has no payload


def test_pages_of_schedules_end_at_a_bound_in_bytes(engine: Engine, epoch: int) -> None:
    schedules = [
        ScheduleRecord(f"s.{n}", "* * * * *", "{id}", 1, Value({}, b"x" * size), {"t": "1"}, 5, 1)
        for n, size in enumerate([PAGE_BYTES_MAX, 0, PAGE_BYTES_MAX // 2, PAGE_BYTES_MAX // 2])
    ]
    engine.commit(Changes(1, schedules_put=schedules), [], epoch)
    replies = _pages(engine, epoch, ScheduleSearch(limit=100))
    assert [reply.schedules for reply in replies] == [schedules[:3], schedules[3:]]


def test_reads_see_their_own_commit(engine: Engine, epoch: int) -> None:
    child = row("a.1", **{TAG_ORIGIN: "a", TAG_BRANCH: "a"})
    reads = [Read(TaskPreload("a", 1), 2), Read(PromiseSearch(prefix="a"), 2)]
    detached = row("a.2", **{TAG_BRANCH: "a"})
    other = row("a.3", **{TAG_ORIGIN: "b", TAG_BRANCH: "a"})
    inserted = [targeted("a"), child, detached, other]
    preload, search = engine.commit(Changes(1, inserted=inserted), reads, epoch)
    assert preload.promises == [child.promise, detached.promise]  # the other is of another graph
    assert search.promises == [row.promise for row in inserted]
    [preload] = engine.commit(Changes(2, updated=[settled(child)]), reads[:1], epoch)
    assert preload.promises == [settled(child).promise, detached.promise]


def test_empty_data_is_not_the_same_as_none(engine: Engine, epoch: int) -> None:
    promise = row("a").promise
    values = [Value({}, b""), Value({}, None), Value({"h": "1"}, b""), Value({"h": "1"}, None)]
    rows = [
        Row(msgspec.structs.replace(promise, id=f"a.{place}", param=value, value=value))
        for place, value in enumerate(values)
    ]
    # the searches have them in the file, where the finds look then
    reads = [Read(PromiseSearch(), 1)]
    [all_of_them] = engine.commit(Changes(1, inserted=rows), reads, epoch)
    assert all_of_them.promises == [each.promise for each in rows]
    assert [engine.find([each.promise.id]) for each in rows] == [[each] for each in rows]
    swapped = [
        Row(msgspec.structs.replace(each.promise, value=value, state="resolved", settled_at=2))
        for each, value in zip(rows, reversed(values), strict=True)
    ]
    engine.commit(Changes(2, updated=swapped), reads, epoch)
    assert engine.find([each.promise.id for each in swapped]) == swapped


@pytest.mark.parametrize(
    "changes",
    [
        Changes(2, inserted=[row("b"), row("a")]),
        Changes(2, inserted=[row("b"), row("b")]),
        Changes(2, inserted=[row("b")], updated=[row("missing")]),
    ],
    ids=["exists", "twice", "missing"],
)
def test_a_refused_commit_leaves_nothing(engine: Engine, epoch: int, changes: Changes) -> None:
    engine.commit(Changes(1, inserted=[row("a")]), [], epoch)
    if changes.updated and not isinstance(engine, MemoryEngine):
        pytest.skip("only the table knows what is missing: see below")
    with pytest.raises(StoreError):
        engine.commit(changes, [], epoch)
    assert engine.find(["a", "b"]) == [row("a")]
    assert engine.load().now == 1


@pytest.mark.parametrize(
    "changes",
    [
        Changes(2, inserted=[row("b"), row("a")]),
        Changes(2, inserted=[row("b")], updated=[row("missing")]),
    ],
    ids=["exists", "missing"],
)
def test_what_the_file_refuses_is_said_later_and_again(tmp_path: Path, changes: Changes) -> None:
    """No machine asks for such a thing. The file has nothing of it, and the store stays shut."""
    path = tmp_path / "x.db"
    engine = SqliteEngine(path)
    reads = [Read(PromiseSearch(), 1)]
    engine.commit(Changes(1, inserted=[row("a")]), reads, SOLE_EPOCH)
    with pytest.raises(StoreError):
        engine.commit(changes, reads, SOLE_EPOCH)
    with pytest.raises(StoreError):
        engine.commit(Changes(3, inserted=[row("c")]), [], SOLE_EPOCH)
    engine.close()
    with pytest.raises(StoreFormatError, match=r"x\.db\.journal do not follow"):
        SqliteEngine(path)
    path.with_name("x.db.journal").unlink()
    engine = SqliteEngine(path, Opening(accept_lost_journal=True))
    assert engine.find(["a", "b", "c"]) == [row("a")]
    assert engine.load().now == 1
    engine.close()


def test_empty_changes_write_nothing(engine: Engine, epoch: int) -> None:
    assert engine.commit(Changes(99), [], epoch) == []
    assert engine.load().now == 0


def test_time_never_goes_back(engine: Engine, epoch: int) -> None:
    engine.commit(Changes(7, inserted=[row("a")]), [], epoch)
    engine.commit(Changes(5, inserted=[row("b")]), [], epoch)
    assert engine.load().now == 7


@pytest.mark.parametrize(
    ("tags", "state"), [({}, "rejected_timedout"), ({TAG_TIMER: "true"}, "resolved")]
)
def test_searches_see_the_projection(
    engine: Engine, epoch: int, tags: dict[str, str], state: str
) -> None:
    """At its deadline, not a moment before, a promise is settled, whatever the row says."""
    made = targeted("a", **tags)
    assert made.task is not None
    commands: list[ReadCommand] = [
        PromiseSearch(state="pending"),
        PromiseSearch(state=state),
        TaskSearch(state="acquired"),
        TaskSearch(state="fulfilled"),
    ]
    before = [Read(command, DEADLINE - 1) for command in commands]
    after = [Read(command, DEADLINE) for command in commands]
    replies = engine.commit(Changes(1, inserted=[made]), [*before, *after], epoch)
    found = [reply.promises if reply.tasks is None else reply.tasks for reply in replies]
    gone = TaskRecord("a", "fulfilled", 1, made.task.target)
    lapsed = projected(made.promise, DEADLINE)
    assert (lapsed.state, lapsed.settled_at, lapsed.value) == (state, DEADLINE, EMPTY)
    assert found == [
        *([made.promise], [], [made.task], []),
        *([], [lapsed], [], [gone]),
    ]


def test_preloads_see_the_projection(engine: Engine, epoch: int) -> None:
    tags = {TAG_ORIGIN: "a", TAG_BRANCH: "a"}
    children = [row("a.1", **tags, **{TAG_TIMER: "true"}), row("a.2", **tags)]
    engine.commit(Changes(1, inserted=[targeted("a"), *children]), [], epoch)
    for now, states in (
        (DEADLINE - 1, ["pending", "pending"]),
        (DEADLINE, ["resolved", "rejected_timedout"]),
    ):
        [preload] = engine.commit(Changes(now), [Read(TaskPreload("a", 1), now)], epoch)
        assert [promise.state for promise in preload.promises or ()] == states


def test_what_is_settled_is_projected_to_itself() -> None:
    done = settled(targeted("a"))
    assert projected_row(done, DEADLINE + 1) == done
    assert projected(done.promise, DEADLINE + 1) is done.promise


def test_statements_have_few_texts(tmp_path: Path) -> None:
    """The driver keeps 128 prepared statements; a text per length would flush them."""
    engine = SqliteEngine(tmp_path / "x.db")
    engine.load()
    for count in range(1, 40):
        engine._database.find([str(n) for n in range(count)])
    assert {2, 4, 8, 16, 32, 64} <= set(STATEMENTS.find_promises.texts) <= {2**n for n in range(10)}
    engine.close()


def _plan(query: str) -> str:
    engine = create_engine("sqlite://")
    METADATA.create_all(engine)
    with engine.connect() as connection:
        count = query.count("?")
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", (None,) * count)
        plan = "; ".join(row[-1] for row in rows)
    engine.dispose()
    return plan


def _sql(query: Select[tuple[object, ...]]) -> str:
    return str(query.compile(dialect=sqlite.dialect()))


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (QUERIES.pending, "promise_live"),
        (QUERIES.preload(TaskPreload("a", 1)), "promise_graph (origin=? AND branch=?)"),
        (QUERIES.preload(TaskPreload("a", 1)), "promise_detached (branch=?)"),
        (QUERIES.search_promises(PromiseSearch(state="pending"), 1), "promise_live"),
        (QUERIES.search_promises(PromiseSearch(origin="a"), 1), "promise_graph (origin=?)"),
        (QUERIES.search_promises(PromiseSearch(prefix="a"), 1), "(id>? AND id<?)"),
        (QUERIES.search_tasks(TaskSearch(state="acquired"), 1), "promise_live"),
    ],
)
def test_reads_use_an_index(query: Select[tuple[object, ...]] | str, index: str) -> None:
    assert index in _plan(query if isinstance(query, str) else _sql(query))


@pytest.mark.parametrize(
    ("statement", "search"),
    [
        (STATEMENTS.update_promises, "SEARCH promise"),
        (STATEMENTS.find_promises, "SEARCH promise"),
        (STATEMENTS.remove_callbacks, "SEARCH callback"),
        (STATEMENTS.remove_listeners, "SEARCH listener"),
        (STATEMENTS.remove_unblocks, "SEARCH unblock"),
        (STATEMENTS.delete_schedules, "SEARCH schedule"),
    ],
)
def test_batches_look_up_by_key(statement: BatchStatement, search: str) -> None:
    assert search in _plan(statement.text(4))
