"""Reads of history: preloads and pages, projected in SQL (semantics: Projection)."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    and_,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects import sqlite

from understudy_store.commands import PromiseSearch, ScheduleSearch, TaskPreload, TaskSearch
from understudy_store.engines.searches import prefix_end
from understudy_store.engines.sql.rows import LIVE_COLUMNS
from understudy_store.engines.sql.statements import promise_columns, schedule_columns
from understudy_store.engines.sql.tables import Callback, Listener, Promise, Schedule, table
from understudy_store.records import PENDING, RESOLVED, TAG_TIMER, TIMEDOUT

_promise = table(Promise)
_schedule = table(Schedule)

#: As a literal, not a parameter: so SQLite sees that it may use the index of what is pending.
_PENDING: ColumnElement[bool] = _promise.c.state == literal_column(f"'{PENDING}'")


def _live(now: int) -> ColumnElement[bool]:
    return and_(_PENDING, _promise.c.timeout_at > now)


def _tagged(key: str, text: str) -> ColumnElement[bool]:
    # Not by a JSON path: a key may hold anything, quotes too.
    tag = func.json_each(_promise.c.tags).table_valued("key", "value", name="tag")
    return exists(select(1).select_from(tag).where(tag.c.key == key, tag.c.value == text))


def _in_state(state: str, now: int) -> ColumnElement[bool]:
    """A promise whose projected state is `state`."""
    if state == PENDING:
        return _live(now)
    if state not in (RESOLVED, TIMEDOUT):
        return _promise.c.state == state
    timer = _tagged(TAG_TIMER, "true")
    lapsed = and_(_PENDING, _promise.c.timeout_at <= now)
    return or_(_promise.c.state == state, and_(lapsed, timer if state == RESOLVED else ~timer))


def _page(
    query: Select[Any], id_: Column[Any], prefix: str, cursor: str | None, limit: int
) -> Select[Any]:
    """In the order of ids, after `cursor`; one more than `limit`, to know whether more follows."""
    if prefix:
        query = query.where(id_ >= prefix)
        end = prefix_end(prefix)
        if end is not None:
            query = query.where(id_ < end)
    if cursor is not None:
        query = query.where(id_ > cursor)
    return query.order_by(id_).limit(limit + 1)


#: all that is pending, as `live_row` takes it
LOAD: Final = str(
    select(*(_promise.c[name] for name in LIVE_COLUMNS))
    .where(_PENDING)
    .compile(dialect=sqlite.dialect())
)
CALLBACKS: Final = str(select(*table(Callback).c))
LISTENERS: Final = str(select(*table(Listener).c))


def preload(command: TaskPreload) -> Select[Any]:
    """All promises that were made under the task, in its call graph."""
    task = _promise.alias("task")
    origin = select(task.c.origin).where(task.c.id == command.id).scalar_subquery()
    return (
        select(*promise_columns)
        .where(_promise.c.origin == origin, _promise.c.branch == command.id)
        .order_by(_promise.c.id)
    )


def search_promises(command: PromiseSearch, now: int) -> Select[Any]:
    """A page of promises."""
    query = select(*promise_columns)
    if command.origin is not None:
        query = query.where(_promise.c.origin == command.origin)
    if command.state is not None:
        query = query.where(_in_state(command.state, now))
    for key, text in command.tags.items():
        query = query.where(_tagged(key, text))
    return _page(query, _promise.c.id, command.prefix, command.cursor, command.limit)


def search_tasks(command: TaskSearch, now: int) -> Select[Any]:
    """A page of the promises that have a task."""
    query = select(*promise_columns).where(_promise.c.target.is_not(None))
    if command.group is not None:
        query = query.where(_promise.c.group_name == command.group)
    if command.state == "fulfilled":
        shown = case((_live(now), _promise.c.task_state), else_="fulfilled")
        query = query.where(shown == "fulfilled")
    elif command.state is not None:
        query = query.where(_live(now), _promise.c.task_state == command.state)
    return _page(query, _promise.c.id, "", command.cursor, command.limit)


def search_schedules(command: ScheduleSearch) -> Select[Any]:
    """A page of schedules."""
    query = select(*schedule_columns)
    return _page(query, _schedule.c.id, command.prefix, command.cursor, command.limit)
