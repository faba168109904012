"""Counts of a whole store, in SQL: rows, calls by function, bytes of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from sqlalchemy import Integer, Select, Table, func, literal_column, select
from sqlalchemy import text as condition

from understudy_store.commands import STATS_FUNCTIONS_MAX
from understudy_store.engines.sql.tables import CALLS, ENDED, GONE, Attempt, Promise, table
from understudy_store.records import PENDING, StoreStats

#: leaves out the rows of slots that other brokers have
Owned: TypeAlias = Callable[[Select[Any], Table], Select[Any]]

_promise = table(Promise)
_attempt = table(Attempt)
_PENDING: Final = f"state = '{PENDING}'"


def store_stats(
    owned: Owned, ask: Callable[[Select[Any]], Iterable[Sequence[Any]]], dialect: str
) -> StoreStats:
    """Count what a store has."""
    rows, tombstones = promise_counts(owned, ask)
    size, free = file_bytes(ask, dialect)
    count = select(func.count()).select_from(_promise)
    attempts = select(func.count()).select_from(_attempt)
    oldest = select(func.min(_promise.c.settled_at)).where(condition(ENDED))
    return StoreStats(
        promises=rows - tombstones,
        pending=_number(ask(owned(count.where(condition(_PENDING)), _promise))),
        tombstones=tombstones,
        attempts=_number(ask(owned(attempts, _attempt))),
        oldest_ended_at=_first(ask(owned(oldest, _promise)))[0],
        functions=[(row[0], row[1], row[2]) for row in ask(_by_function(owned))],
        file_bytes=size,
        free_bytes=free,
    )


def promise_counts(
    owned: Owned, ask: Callable[[Select[Any]], Iterable[Sequence[Any]]]
) -> tuple[int, int]:
    """Return the number of promises with tombstones, and that of tombstones."""
    count = select(func.count()).select_from(_promise)
    gone = count.where(condition(GONE))
    return _number(ask(owned(count, _promise))), _number(ask(owned(gone, _promise)))


def file_bytes(
    ask: Callable[[Select[Any]], Iterable[Sequence[Any]]], dialect: str
) -> tuple[int | None, int | None]:
    """Return the bytes of the file, and of its free pages; None: there is no file."""
    if dialect != "sqlite":
        return None, None
    size, count, free = (
        literal_column(f"(SELECT {name} FROM pragma_{name})", Integer)
        for name in ("page_size", "page_count", "freelist_count")
    )
    columns: list[Any] = [size * count, size * free]
    found = _first(ask(select(*columns)))
    return int(found[0]), int(found[1])


def _by_function(owned: Owned) -> Select[Any]:
    group, function, count = _promise.c.group_name, _promise.c.function, func.count()
    query = owned(select(group, function, count).where(condition(CALLS)), _promise)
    query = query.group_by(group, function).order_by(count.desc(), group, function)
    return query.limit(STATS_FUNCTIONS_MAX)


def _first(rows: Iterable[Sequence[Any]]) -> Sequence[Any]:
    return next(iter(rows))


def _number(rows: Iterable[Sequence[Any]]) -> int:
    return int(_first(rows)[0])
