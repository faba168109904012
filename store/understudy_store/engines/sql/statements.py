"""Every statement that runs per batch, named and described. Built and compiled once.

Why not ``executemany``: Python's sqlite3 gives up the interpreter's lock at every step, and so once
or twice per row; while the broker's own thread is busy, getting it back takes up to a switch
interval (5 ms) each time. Measured with one busy thread: 800 rows a second through
``Connection.execute(insert, dicts)``, 20,000 with all rows of a batch in one statement, which also
is the quickest without that thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import (
    CTE,
    Column,
    ColumnElement,
    Executable,
    Table,
    bindparam,
    column,
    delete,
    func,
    literal_column,
    select,
    tuple_,
    update,
    values,
)
from sqlalchemy.dialects import sqlite

from understudy_store.engines.sql.rows import (
    PROMISE_COLUMNS,
    SCHEDULE_COLUMNS,
    TASK_COLUMNS,
    UPDATE_COLUMNS,
)
from understudy_store.engines.sql.tables import (
    Callback,
    Listener,
    Promise,
    Schedule,
    Unblock,
    table,
)

#: rows in one statement; times the 25 columns of a promise is well below SQLite's 32,766 variables
CHUNK_ROWS = 512
#: rows that are written one by one
SINGLE_ROWS_MAX: Final = 2
#: stands for NULL among the values; all numbers that are stored are positive
_NOTHING: Final = -1


def _or_null(value: ColumnElement[Any], target: Column[Any]) -> ColumnElement[Any]:
    nothing: ColumnElement[Any] = literal_column(str(_NOTHING))
    return func.nullif(value, nothing, type_=target.type)


class _Single:
    """The same for one row: without a table of what is given it takes half as long."""

    def __init__(
        self,
        columns: Sequence[Column[Any]],
        build: Callable[[dict[str, ColumnElement[Any]]], Executable],
    ) -> None:
        given: dict[str, ColumnElement[Any]] = {}
        for c in columns:
            value: ColumnElement[Any] = bindparam(f"given_{c.name}", type_=c.type)
            given[c.name] = _or_null(value, c) if c.nullable else value
        compiled = build(given).compile(dialect=sqlite.dialect())  # type: ignore[attr-defined]
        places = {f"given_{c.name}": place for place, c in enumerate(columns)}
        self.text = str(compiled)
        self.arrange = itemgetter(*(places[name] for name in compiled.positiontup))


class Batched:
    """A statement over a list of rows, which it sees as a table named ``given``.

    Its text holds one placeholder group per row. The count is rounded up to a power of two and the
    rest filled with NULL, so that there are ten texts at most, and the driver finds them prepared;
    the statement leaves out rows whose first column is NULL.

    A None is handed over as a number and turned into NULL by the statement: the driver takes 1 µs
    to bind a None, as it asks in vain how to adapt it, and a tenth of that for numbers.
    """

    def __init__(
        self,
        columns: Sequence[Column[Any]],
        build: Callable[[CTE], Executable],
        build_single: Callable[[dict[str, ColumnElement[Any]]], Executable] | None = None,
    ) -> None:
        self._single = None if build_single is None else _Single(columns, build_single)
        raw = (
            values(*(column(c.name, c.type) for c in columns), name="raw")
            .data([tuple(bindparam(f"given_{c.name}") for c in columns)])
            .cte("raw")
        )
        given = select(
            *(
                _or_null(raw.c[c.name], c).label(c.name)
                if c.nullable or place == 0
                else raw.c[c.name]
                for place, c in enumerate(columns)
            )
        ).cte("given")
        compiled = build(given).compile(dialect=sqlite.dialect())  # type: ignore[attr-defined]
        group = f"({', '.join('?' * len(columns))})"
        self._width = len(columns)
        self._head, found, self._tail = str(compiled).partition(group)
        assert found
        assert compiled.positiontup == [f"given_{c.name}" for c in columns]
        self._group = group
        #: by the number of rows
        self.texts: dict[int, str] = {}

    def text(self, rows_count: int) -> str:
        """SQL for up to `rows_count` rows, a power of two."""
        text = self.texts.get(rows_count)
        if text is None:
            groups = ", ".join([self._group] * rows_count)
            text = self.texts[rows_count] = f"{self._head}{groups}{self._tail}"
        return text

    def run(self, driver: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Perform it for all of `rows`."""
        single = self._single
        if single is not None and len(rows) <= SINGLE_ROWS_MAX:
            for row in rows:
                values = single.arrange(row)
                driver.execute(
                    single.text, [_NOTHING if value is None else value for value in values]
                )
            return
        for _ in self.results(driver, rows):
            pass

    def results(
        self, driver: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]
    ) -> Iterator[sqlite3.Cursor]:
        """Perform it chunk by chunk, with the result of each.

        By the driver itself: the text is Core's, and what Core would do besides for each execution
        takes longer than a small statement.
        """
        for start in range(0, len(rows), CHUNK_ROWS):
            chunk = rows[start : start + CHUNK_ROWS]
            shape = 1 << (len(chunk) - 1).bit_length()
            flat = [_NOTHING if value is None else value for row in chunk for value in row]
            flat += [_NOTHING] * ((shape - len(chunk)) * self._width)
            yield driver.execute(self.text(shape), flat)


def _insert(target: Table, names: Sequence[str]) -> Batched:
    """Insert rows; a key that exists is an error."""
    return Batched(
        [target.c[name] for name in names],
        lambda given: sqlite.insert(target).from_select(
            list(names), select(given).where(given.c[names[0]].is_not(None))
        ),
        lambda given: sqlite.insert(target).values(given),
    )


def _add(target: Table) -> Batched:
    """Insert members of a set; one that is there stays."""
    names = [c.name for c in target.c]
    return Batched(
        list(target.c),
        lambda given: (
            sqlite.insert(target)
            .from_select(names, select(given).where(given.c[names[0]].is_not(None)))
            .on_conflict_do_nothing()
        ),
    )


def _put(target: Table, names: Sequence[str]) -> Batched:
    """Insert rows; one whose key exists takes its place."""

    def build(given: CTE) -> Executable:
        rows = select(given).where(given.c[names[0]].is_not(None))
        insert = sqlite.insert(target).from_select(list(names), rows)
        return insert.on_conflict_do_update(
            index_elements=[names[0]], set_={name: insert.excluded[name] for name in names[1:]}
        )

    return Batched([target.c[name] for name in names], build)


def _update(target: Table, names: Sequence[str]) -> Batched:
    """Give the row whose key is the first column the others."""
    key, *others = names
    return Batched(
        [target.c[name] for name in names],
        lambda given: (
            update(target)
            .values({name: given.c[name] for name in others})
            .where(target.c[key] == given.c[key])
        ),
        lambda given: (
            update(target)
            .values({name: given[name] for name in others})
            .where(target.c[key] == given[key])
        ),
    )


def _remove(target: Table, *names: str) -> Batched:
    """Delete the rows whose columns `names` are as given."""
    columns = [target.c[name] for name in names]
    return Batched(columns, lambda given: delete(target).where(tuple_(*columns).in_(select(given))))


_promise = table(Promise)
_callback = table(Callback)
_listener = table(Listener)
_unblock = table(Unblock)
_schedule = table(Schedule)

promise_columns = [_promise.c[name] for name in PROMISE_COLUMNS]
schedule_columns = [_schedule.c[name] for name in SCHEDULE_COLUMNS]

#: promises with their tasks: all columns
INSERT_PROMISES = _insert(_promise, PROMISE_COLUMNS)
#: of promises that have settled: only what ever changes
UPDATE_PROMISES = _update(_promise, UPDATE_COLUMNS)
#: of promises that are still pending: their tasks. No index knows of these columns.
UPDATE_TASKS = _update(_promise, TASK_COLUMNS)
#: promises with their tasks, by id
FIND_PROMISES = Batched(
    [_promise.c.id],
    lambda given: select(*promise_columns).where(_promise.c.id.in_(select(given.c.id))),
)
#: the one promise of an id, with its task
FIND_PROMISE = str(
    select(*promise_columns)
    .where(_promise.c.id == bindparam("id"))
    .compile(dialect=sqlite.dialect())
)
#: the id itself, or else the next one in order; from the index alone
FIRST_ID = str(
    select(func.min(_promise.c.id))
    .where(_promise.c.id >= bindparam("id"))
    .compile(dialect=sqlite.dialect())
)
ADD_CALLBACKS = _add(_callback)
ADD_LISTENERS = _add(_listener)
ADD_UNBLOCKS = _add(_unblock)
#: all callbacks of promises that are settled
REMOVE_CALLBACKS = _remove(_callback, "awaited")
#: all listeners of promises that are settled
REMOVE_LISTENERS = _remove(_listener, "awaited")
#: unblocks that were acknowledged
REMOVE_UNBLOCKS = _remove(_unblock, "promise_id", "address")
PUT_SCHEDULES = _put(_schedule, SCHEDULE_COLUMNS)
DELETE_SCHEDULES = _remove(_schedule, "id")
