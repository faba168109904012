"""Answers to reads from the tables of a database, whichever driver asks it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final, TypeAlias

from sqlalchemy import CompoundSelect, Connection, Select

from understudy_store.calls import call_cursor, call_record, place_of
from understudy_store.commands import (
    CallSearch,
    PromisePurge,
    PromiseSearch,
    Reply,
    RetentionRead,
    ScheduleSearch,
    StatsGet,
    TaskAttempts,
    TaskPreload,
    TaskSearch,
)
from understudy_store.engines.base import Read
from understudy_store.engines.ended import Size, Wanted, ended
from understudy_store.engines.searches import call_bytes, page
from understudy_store.engines.sql.counts import file_bytes, promise_counts, store_stats
from understudy_store.engines.sql.queries import Queries
from understudy_store.engines.sql.rows import PROMISE_COLUMNS, attempt_of, row_of, schedule_of
from understudy_store.machine.projection import projected, projected_row
from understudy_store.records import PromiseState, Row
from understudy_store.retention import Root

#: Executes a query and returns its rows; of those that are not taken it need not read any.
Ask: TypeAlias = Callable[[Select[Any] | CompoundSelect[Any]], Iterable[Sequence[Any]]]

#: rows that are in memory at a time before they are taken
_ROWS_AT_ONCE: Final = 256
_FUNCTION: Final = PROMISE_COLUMNS.index("function")
_ERROR: Final = PROMISE_COLUMNS.index("error")
_id_of: Final = itemgetter(0)
_size_of: Final = itemgetter(1)


def answer(queries: Queries, read: Read, ask: Ask) -> Reply:
    """Answer a read; all that is asked for it is of one moment of the database.

    Parameters
    ----------
    ask
        Executes in one transaction, in which nothing seems to change.
    """
    command, now = read.command, read.now
    match command:
        case TaskPreload():
            rows = map(row_of, ask(queries.preload(command)))
            return Reply(200, promises=[projected(row.promise, now) for row in rows])
        case PromiseSearch():
            ids, cursor = _page(ask(queries.search_promises(command, now)), command.limit)
            rows = map(row_of, ask(queries.promises(ids)) if ids else ())
            promises = [projected(row.promise, now) for row in rows]
            return Reply(200, promises=promises, cursor=cursor)
        case TaskSearch():
            ids, cursor = _page(ask(queries.search_tasks(command, now)), command.limit)
            rows = map(row_of, ask(queries.tasks(ids)) if ids else ())
            tasks = [task for row in rows if (task := projected_row(row, now).task)]
            return Reply(200, tasks=tasks, cursor=cursor)
        case TaskAttempts():
            return Reply(200, attempts=list(map(attempt_of, ask(queries.attempts(command)))))
        case CallSearch():
            return _calls(queries, command, now, ask)
        case PromisePurge() | RetentionRead():
            return ended(_SqlHistory(queries, ask), command, now)
        case StatsGet():
            return Reply(200, stats=store_stats(queries.owned, ask, queries.dialect_name))
        case ScheduleSearch():
            ids, cursor = _page(ask(queries.search_schedules(command)), command.limit)
            found = ask(queries.schedules(ids)) if ids else ()
            return Reply(200, schedules=list(map(schedule_of, found)), cursor=cursor)


class _SqlHistory:
    """The tables, within one transaction."""

    def __init__(self, queries: Queries, ask: Ask) -> None:
        self._queries = queries
        self._ask = ask

    def roots(self, wanted: Wanted, limit: int) -> Iterator[Root]:
        return (Root(*each) for each in self._ask(self._queries.ended_roots(wanted, limit)))

    def sizes(self, roots: Sequence[str]) -> dict[str, Size]:
        found = self._ask(self._queries.graph_sizes(roots))
        return {id_: Size(*(int(each) for each in sizes)) for id_, *sizes in found}

    def members(self, roots: Sequence[str], limit: int) -> Iterator[tuple[str, str, PromiseState]]:
        return (
            (row[0], row[1], row[2]) for row in self._ask(self._queries.graph_members(roots, limit))
        )

    def held(self, ids: Collection[str], branches: Collection[str]) -> list[str]:
        return [
            each[0]
            for query in self._queries.pointers(list(ids), list(branches))
            for each in self._ask(query)
        ]

    def promises(self) -> int:
        rows, tombstones = promise_counts(self._queries.owned, self._ask)
        return rows - tombstones

    def used_bytes(self) -> int | None:
        size, free = file_bytes(self._ask, self._queries.dialect_name)
        return None if size is None or free is None else size - free

    def rows(self, ids: Sequence[str], *, with_data: bool) -> list[Row]:
        queries = self._queries
        query = queries.promises(ids) if with_data else queries.without_data(ids)
        return list(map(row_of, self._ask(query)))


def asking(connection: Connection) -> Ask:
    """Return what executes queries over a connection of SQLAlchemy.

    It reads a few rows at a time, and at most about as many again as are taken.
    """

    def ask(query: Select[Any] | CompoundSelect[Any]) -> Iterator[Sequence[Any]]:
        count = 1
        with connection.execute(query) as rows:
            while found := rows.fetchmany(count):
                yield from found
                count = min(2 * count, _ROWS_AT_ONCE)

    return ask


def _page(found: Iterable[Sequence[Any]], limit: int) -> tuple[list[str], str | None]:
    """Return the ids of a page, and the next cursor."""
    kept, cursor = page(found, limit, _id_of, _size_of)
    return [each[0] for each in kept], cursor


def _calls(queries: Queries, search: CallSearch, now: int, ask: Ask) -> Reply:
    """Answer a search of root calls; with their number by state, if that is asked for."""
    calls = (
        call_record(projected_row(row_of(values), now), values[_FUNCTION], values[_ERROR])
        for values in ask(queries.search_calls(search, now))
    )
    key = lambda call: call_cursor(place_of(call, search))  # noqa: E731 - it needs the search
    kept, cursor = page(calls, search.limit, key, call_bytes)
    counts = None
    if search.counts:
        counts = {state: int(count) for state, count in ask(queries.count_calls(search, now))}
    return Reply(200, calls=kept, cursor=cursor, counts=counts)
