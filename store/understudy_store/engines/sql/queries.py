"""Reads of history: preloads and pages, projected in SQL (semantics: Projection).

Queries are SQLAlchemy Core objects; the connection that executes one compiles it, or `compiled`
does for a driver. What depends on the dialect: the text of the long reads at start, which the
driver executes; the search for a tag, because each database has its own functions for JSON; the
length of a column, and the rows of many ids.

A page is read in two steps: the ids and sizes of what it may hold, in order, and then the rows of
those that it has room for. So nothing large is sorted, or read in vain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    CompoundSelect,
    Dialect,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    any_,
    case,
    cast,
    exists,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    union_all,
)

from understudy_store.commands import PromiseSearch, ScheduleSearch, TaskPreload, TaskSearch
from understudy_store.engines.searches import prefix_end
from understudy_store.engines.sql.statements import promise_columns, schedule_columns
from understudy_store.engines.sql.tables import Callback, Listener, Promise, Schedule, table
from understudy_store.machine.transitions import TASK_TRANSITIONS
from understudy_store.pending_row import PENDING_COLUMNS
from understudy_store.records import PENDING, RESOLVED, TAG_TIMER, TIMEDOUT, TRUE

_promise = table(Promise)
_schedule = table(Schedule)
#: owners of slots, in a store that brokers share
_slot: Final = Table("slot", MetaData(), Column("slot", Integer), Column("writer", BigInteger))

#: As a literal and not as a parameter, so that the database sees that it may use the index of
#: pending promises.
_PENDING: Final[ColumnElement[bool]] = _promise.c.state == literal_column(f"'{PENDING}'")
_FULFILLED: Final = TASK_TRANSITIONS["pending", "settle"]


def _tagged_sqlite(key: str, text: str) -> ColumnElement[bool]:
    # Not by a JSON path, because a key may hold anything, quotes too.
    tag = func.json_each(_promise.c.tags).table_valued("key", "value", name="tag")
    return exists(select(1).select_from(tag).where(tag.c.key == key, tag.c.value == text))


def _tagged_postgresql(key: str, text: str) -> ColumnElement[bool]:
    # Imported here, because a store over SQLite does without.
    from sqlalchemy.dialects.postgresql import JSONB

    return cast(_promise.c.tags, JSONB).contains(func.jsonb_build_object(key, text))


def _among_sqlite(id_: Column[Any], ids: Sequence[str]) -> ColumnElement[bool]:
    return id_.in_(ids)


def _among_postgresql(id_: Column[Any], ids: Sequence[str]) -> ColumnElement[bool]:
    from sqlalchemy.dialects.postgresql import ARRAY

    return id_ == any_(literal(list(ids), ARRAY(Text)))


#: dialect, and the condition that a promise has a tag with a text
_TAGGED: Final[Mapping[str, Callable[[str, str], ColumnElement[bool]]]] = {
    "sqlite": _tagged_sqlite,
    "postgresql": _tagged_postgresql,
}
#: dialect, and the condition that an id is one of these
_AMONG: Final[Mapping[str, Callable[[Column[Any], Sequence[str]], ColumnElement[bool]]]] = {
    "sqlite": _among_sqlite,
    "postgresql": _among_postgresql,
}
#: Dialect, and the function that returns the length of a column, of data in bytes. Neither reads
#: what is stored beside the row.
_LENGTH: Final[Mapping[str, Callable[[Column[Any]], ColumnElement[int]]]] = {
    "sqlite": func.length,
    "postgresql": func.octet_length,
}
#: what a page of promises is measured by, and one of tasks, and one of schedules
_PROMISE_SIZES: Final = ("param_data", "value_data", "param_headers", "value_headers", "tags")
_TASK_SIZES: Final = ("resumes", "awaits", "cause")
_SCHEDULE_SIZES: Final = ("param_data", "param_headers", "promise_tags")
#: `promise_columns` without payloads, of which tasks have none
_NO_PAYLOAD: Final[Mapping[str, ColumnElement[Any]]] = {
    "param_headers": literal_column("'{}'").label("param_headers"),
    "param_data": null().label("param_data"),
    "value_headers": literal_column("'{}'").label("value_headers"),
    "value_data": null().label("value_data"),
}
_task_columns: Final = [_NO_PAYLOAD.get(each.name, each) for each in promise_columns]


class Queries:
    """The reads of one dialect. Make it once, because it compiles them.

    Parameters
    ----------
    schema
        The schema of the tables; None: that of the connection.
    owner
        The writer whose slots preloads and pages are about; None: all slots.
    """

    def __init__(
        self, dialect: Dialect, schema: str | None = None, owner: int | None = None
    ) -> None:
        self._dialect = dialect
        self._schemas = None if schema is None else {None: schema}
        self._owner = owner
        self._tagged = _TAGGED[dialect.name]
        self._among = _AMONG[dialect.name]
        self._length = _LENGTH[dialect.name]
        pending = select(*(_promise.c[name] for name in PENDING_COLUMNS)).where(_PENDING)
        #: all that is pending, as `pending_row` takes it
        self.pending, _ = self.compiled(pending)
        callback, listener = table(Callback).c, table(Listener).c
        self.callbacks, _ = self.compiled(select(callback.awaited, callback.awaiter))
        self.listeners, _ = self.compiled(select(listener.awaited, listener.address))

    def compiled(self, query: Select[Any] | CompoundSelect[Any]) -> tuple[str, dict[str, Any]]:
        """Return the text of a query and its parameters by name, for the driver."""
        made = query.compile(
            dialect=self._dialect,
            schema_translate_map=self._schemas,
            render_schema_translate=self._schemas is not None,
        )
        return str(made), made.params

    def preload(self, command: TaskPreload) -> CompoundSelect[Any]:
        """Select all promises that were created under the task: in its call graph, or detached."""
        task = _promise.alias("task")
        origin = select(task.c.origin).where(task.c.id == command.id).scalar_subquery()
        made = self._owned(select(*promise_columns), _promise).where(
            _promise.c.branch == command.id
        )
        # Spelled as in the index of detached calls, so that the database sees that it may use it.
        is_root = and_(_promise.c.branch.is_not(None), _promise.c.origin == _promise.c.id)
        return union_all(
            made.where(_promise.c.origin == origin),
            made.where(is_root, _promise.c.id != origin),
        ).order_by(_promise.c.id)

    def search_promises(self, command: PromiseSearch, now: int) -> Select[Any]:
        """Select ids and sizes of a page of promises, and of one more."""
        query = self._sized(_promise, _PROMISE_SIZES)
        if command.origin is not None:
            query = query.where(_promise.c.origin == command.origin)
        if command.state is not None:
            query = query.where(self._in_state(command.state, now))
        for key, text in command.tags.items():
            query = query.where(self._tagged(key, text))
        return _page(query, _promise.c.id, command.prefix, command.cursor, command.limit)

    def search_tasks(self, command: TaskSearch, now: int) -> Select[Any]:
        """Select ids and sizes of a page of the promises that have a task, and of one more."""
        query = self._sized(_promise, _TASK_SIZES)
        query = query.where(_promise.c.target.is_not(None))
        if command.group is not None:
            query = query.where(_promise.c.group_name == command.group)
        if command.state == _FULFILLED:
            shown = case((_live(now), _promise.c.task_state), else_=_FULFILLED)
            query = query.where(shown == _FULFILLED)
        elif command.state is not None:
            query = query.where(_live(now), _promise.c.task_state == command.state)
        return _page(query, _promise.c.id, "", command.cursor, command.limit)

    def search_schedules(self, command: ScheduleSearch) -> Select[Any]:
        """Select ids and sizes of a page of schedules, and of one more."""
        query = self._sized(_schedule, _SCHEDULE_SIZES)
        return _page(query, _schedule.c.id, command.prefix, command.cursor, command.limit)

    def promises(self, ids: Sequence[str]) -> Select[Any]:
        """Select the promises of `ids` in order."""
        query = select(*promise_columns).where(self._among(_promise.c.id, ids))
        return query.order_by(_promise.c.id)

    def tasks(self, ids: Sequence[str]) -> Select[Any]:
        """Select the promises of `ids` in order, without their payloads."""
        query = select(*_task_columns).where(self._among(_promise.c.id, ids))
        return query.order_by(_promise.c.id)

    def schedules(self, ids: Sequence[str]) -> Select[Any]:
        """Select the schedules of `ids` in order."""
        query = select(*schedule_columns).where(self._among(_schedule.c.id, ids))
        return query.order_by(_schedule.c.id)

    def _sized(self, target: Table, names: Sequence[str]) -> Select[Any]:
        """Select id and size of the rows in slots of the owner."""
        size: ColumnElement[int] = sum(
            (func.coalesce(self._length(target.c[name]), 0) for name in names),
            start=literal_column("0", Integer),
        )
        return self._owned(select(target.c.id, size.label("size")), target)

    def _owned(self, query: Select[Any], target: Table) -> Select[Any]:
        """Leave out the rows of slots that other brokers have: here they may be out of date."""
        if self._owner is None:
            return query
        own = select(_slot.c.slot).where(_slot.c.writer == self._owner)
        # As an array that is made once. A join would be one more way to get at the rows, which is
        # slower than the order of ids.
        return query.where(target.c.slot == any_(func.array(own.scalar_subquery())))

    def _in_state(self, state: str, now: int) -> ColumnElement[bool]:
        """Return the condition that the projected state of a promise is `state`."""
        if state == PENDING:
            return _live(now)
        if state not in (RESOLVED, TIMEDOUT):
            return _promise.c.state == state
        timer = self._tagged(TAG_TIMER, TRUE)
        lapsed = and_(_PENDING, _promise.c.timeout_at <= now)
        return or_(_promise.c.state == state, and_(lapsed, timer if state == RESOLVED else ~timer))


def _live(now: int) -> ColumnElement[bool]:
    return and_(_PENDING, _promise.c.timeout_at > now)


def _page(
    query: Select[Any], id_: Column[Any], prefix: str, cursor: str | None, limit: int
) -> Select[Any]:
    """Order by id, after `cursor`; one more than `limit`, to know whether more follows."""
    if prefix:
        query = query.where(id_ >= prefix)
        end = prefix_end(prefix)
        if end is not None:
            query = query.where(id_ < end)
    if cursor is not None:
        query = query.where(id_ > cursor)
    return query.order_by(id_).limit(limit + 1)
