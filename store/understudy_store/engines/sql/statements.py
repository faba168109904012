"""Every statement that runs per batch, named and described. Built and compiled once per dialect.

SQLAlchemy Core builds the texts; the driver executes them. There are two reasons to leave out
everything between the two. What Core does for each execution takes longer than a small statement.
And ``executemany`` of Python's sqlite3 gives up the interpreter's lock at every step, which is once
or twice per row; while the broker's own thread is busy, getting it back takes up to a switch
interval (5 ms) each time. Measured with one busy thread: 800 rows a second through
``Connection.execute(insert, dicts)``, 20,000 with all rows of a batch in one statement, which is
also the quickest without that thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import (
    CTE,
    Column,
    ColumnElement,
    Dialect,
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

from understudy_store.engines.sql.rows import (
    ATTEMPT_COLUMNS,
    PROMISE_COLUMNS,
    SCHEDULE_COLUMNS,
    TASK_UPDATE_COLUMNS,
    UPDATE_COLUMNS,
)
from understudy_store.engines.sql.tables import (
    Attempt,
    Callback,
    Listener,
    Promise,
    Schedule,
    Unblock,
    table,
)

#: Rows in one statement. Times the 35 columns of a promise, that is well below SQLite's 32,766
#: variables.
CHUNK_ROWS = 512
#: up to so many rows are written one by one
SINGLE_ROWS_MAX: Final = 2
#: stands for NULL among the values; all numbers that are stored are positive
_NULL: Final = -1

#: the text of one parameter, by the style of a driver that takes parameters by position
_PLACEHOLDERS: Final = {"qmark": "?", "format": "%s"}

_promise = table(Promise)
_schedule = table(Schedule)
promise_columns = [_promise.c[name] for name in PROMISE_COLUMNS]
schedule_columns = [_schedule.c[name] for name in SCHEDULE_COLUMNS]
attempt_columns = [table(Attempt).c[name] for name in ATTEMPT_COLUMNS]


class Statements:
    """The statements of one dialect. Make it once, because it compiles them.

    Parameters
    ----------
    dialect
        It takes parameters by position and knows ``INSERT … ON CONFLICT`` and ``UPDATE … FROM``.
    """

    def __init__(self, dialect: Dialect) -> None:
        build = _Builder(dialect)
        callback, listener, unblock = table(Callback), table(Listener), table(Unblock)
        #: promises with their tasks: all columns
        self.insert_promises = build.insert(_promise, PROMISE_COLUMNS)
        #: of promises that have settled: only the columns that ever change
        self.update_promises = build.update(_promise, UPDATE_COLUMNS)
        #: of promises that are still pending: their tasks. No index knows of these columns.
        self.update_tasks = build.update(_promise, TASK_UPDATE_COLUMNS)
        #: promises with their tasks, by id
        self.find_promises = build.batch(
            [_promise.c.id],
            lambda given: select(*promise_columns).where(_promise.c.id.in_(select(given.c.id))),
        )
        #: the one promise of an id, with its task
        self.find_promise = build.text(
            select(*promise_columns).where(_promise.c.id == bindparam("id"))
        )
        #: the id itself, or else the next one in order; from the index alone
        self.first_id = build.text(
            select(func.min(_promise.c.id)).where(_promise.c.id >= bindparam("id"))
        )
        self.add_callbacks = build.add(callback)
        self.add_listeners = build.add(listener)
        self.add_unblocks = build.add(unblock)
        #: all callbacks of promises that are settled
        self.remove_callbacks = build.remove(callback, "awaited")
        #: all listeners of promises that are settled
        self.remove_listeners = build.remove(listener, "awaited")
        #: unblocks that were acknowledged
        self.remove_unblocks = build.remove(unblock, "promise_id", "address")
        self.put_schedules = build.put(_schedule, SCHEDULE_COLUMNS)
        self.delete_schedules = build.remove(_schedule, "id")
        self.add_attempts = build.insert(table(Attempt), ATTEMPT_COLUMNS)
        #: promises that are purged, and their attempts
        self.purge_promises = build.remove(_promise, "id")
        self.purge_attempts = build.remove(table(Attempt), "promise_id")
        #: attempts that leave the log because later ones enter it
        self.remove_attempts = build.remove(table(Attempt), "promise_id", "n")


class BatchStatement:
    """A statement over a list of rows, which it sees as a table named ``given``.

    Its text holds one placeholder group per row. The count is rounded up to a power of two and the
    rest filled with NULL, so there are ten texts at most, and the driver finds them prepared; the
    statement leaves out rows whose first column is NULL.

    None is handed over as a number, which the statement turns into NULL: the driver takes 1 µs to
    bind None, because it asks in vain how to adapt it, and a tenth of that for a number.
    """

    def __init__(
        self,
        dialect: Dialect,
        columns: Sequence[Column[Any]],
        build: Callable[[CTE], Executable],
        build_single: Callable[[dict[str, ColumnElement[Any]]], Executable] | None = None,
    ) -> None:
        self._single = (
            None if build_single is None else _SingleStatement(dialect, columns, build_single)
        )
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
        compiled = _compile(build(given), dialect)
        group = f"({', '.join([_PLACEHOLDERS[dialect.paramstyle]] * len(columns))})"
        self._width = len(columns)
        self._head, found, self._tail = str(compiled).partition(group)
        assert found
        assert compiled.positiontup == [f"given_{c.name}" for c in columns]
        self._group = group
        #: texts that were made, by the number of rows
        self.texts: dict[int, str] = {}

    def text(self, rows_count: int) -> str:
        """Return the SQL for up to `rows_count` rows, a power of two."""
        text = self.texts.get(rows_count)
        if text is None:
            groups = ", ".join([self._group] * rows_count)
            text = self.texts[rows_count] = f"{self._head}{groups}{self._tail}"
        return text

    def run(self, driver: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Execute the statement for all of `rows`."""
        single = self._single
        if single is not None and len(rows) <= SINGLE_ROWS_MAX:
            for row in rows:
                driver.execute(
                    single.text,
                    [_NULL if value is None else value for value in single.arrange(row)],
                )
            return
        for _ in self.results(driver, rows):
            pass

    def results(
        self, driver: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]
    ) -> Iterator[sqlite3.Cursor]:
        """Execute the statement chunk by chunk, and yield the result of each."""
        for start in range(0, len(rows), CHUNK_ROWS):
            chunk = rows[start : start + CHUNK_ROWS]
            shape = 1 << (len(chunk) - 1).bit_length()
            flat = [_NULL if value is None else value for row in chunk for value in row]
            flat += [_NULL] * ((shape - len(chunk)) * self._width)
            yield driver.execute(self.text(shape), flat)


class _SingleStatement:
    """The same statement for one row: without a table of given rows it takes half as long."""

    def __init__(
        self,
        dialect: Dialect,
        columns: Sequence[Column[Any]],
        build: Callable[[dict[str, ColumnElement[Any]]], Executable],
    ) -> None:
        given: dict[str, ColumnElement[Any]] = {}
        for c in columns:
            value: ColumnElement[Any] = bindparam(f"given_{c.name}", type_=c.type)
            given[c.name] = _or_null(value, c) if c.nullable else value
        compiled = _compile(build(given), dialect)
        places = {f"given_{c.name}": place for place, c in enumerate(columns)}
        self.text = str(compiled)
        #: brings the values of a row into the order of the parameters
        self.arrange = itemgetter(*(places[name] for name in compiled.positiontup))


def _or_null(value: ColumnElement[Any], target: Column[Any]) -> ColumnElement[Any]:
    null: ColumnElement[Any] = literal_column(str(_NULL))
    return func.nullif(value, null, type_=target.type)


def _compile(statement: Executable, dialect: Dialect) -> Any:
    """Compile for `dialect`. Any: a compiled statement's `positiontup` is not in its stubs."""
    return statement.compile(dialect=dialect)  # type: ignore[attr-defined]  # every Core one has it


class _Builder:
    """Builds statements of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        # Each dialect has an INSERT of its own, with ON CONFLICT. By name, so that no other
        # database's dialect is loaded.
        self._insert: Any = import_module(f"sqlalchemy.dialects.{dialect.name}").insert

    def text(self, statement: Executable) -> str:
        """Return the text of a statement."""
        return str(_compile(statement, self._dialect))

    def batch(
        self,
        columns: Sequence[Column[Any]],
        build: Callable[[CTE], Executable],
        build_single: Callable[[dict[str, ColumnElement[Any]]], Executable] | None = None,
    ) -> BatchStatement:
        """Make a statement over rows with `columns`."""
        return BatchStatement(self._dialect, columns, build, build_single)

    def insert(self, target: Table, names: Sequence[str]) -> BatchStatement:
        """Insert rows; a key that exists is an error."""
        return self.batch(
            [target.c[name] for name in names],
            lambda given: self._insert(target).from_select(
                list(names), select(given).where(given.c[names[0]].is_not(None))
            ),
            lambda given: self._insert(target).values(given),
        )

    def add(self, target: Table) -> BatchStatement:
        """Insert members of a set; one that exists stays."""
        names = [c.name for c in target.c]
        return self.batch(
            list(target.c),
            lambda given: (
                self._insert(target)
                .from_select(names, select(given).where(given.c[names[0]].is_not(None)))
                .on_conflict_do_nothing()
            ),
        )

    def put(self, target: Table, names: Sequence[str]) -> BatchStatement:
        """Insert rows; one whose key exists is replaced."""

        def build(given: CTE) -> Executable:
            rows = select(given).where(given.c[names[0]].is_not(None))
            insert = self._insert(target).from_select(list(names), rows)
            statement: Executable = insert.on_conflict_do_update(
                index_elements=[names[0]], set_={name: insert.excluded[name] for name in names[1:]}
            )
            return statement

        return self.batch([target.c[name] for name in names], build)

    def update(self, target: Table, names: Sequence[str]) -> BatchStatement:
        """Update the row whose key is the first of the columns."""
        key, *others = names
        return self.batch(
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

    def remove(self, target: Table, *names: str) -> BatchStatement:
        """Delete the rows whose columns `names` are as given."""
        columns = [target.c[name] for name in names]
        return self.batch(
            columns, lambda given: delete(target).where(tuple_(*columns).in_(select(given)))
        )
