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
    tuple_,
    union_all,
)
from sqlalchemy import text as condition

from understudy_store.calls import call_place
from understudy_store.commands import (
    COUNTED_MAX,
    CallSearch,
    PromiseSearch,
    ScheduleSearch,
    TaskAttempts,
    TaskPreload,
    TaskSearch,
)
from understudy_store.engines.ended import Wanted
from understudy_store.engines.searches import prefix_end
from understudy_store.engines.sql.statements import (
    attempt_columns,
    promise_columns,
    schedule_columns,
)
from understudy_store.engines.sql.tables import (
    CALLS,
    ENDED,
    FAILED,
    GONE,
    KEPT,
    ROOTS,
    STRAY,
    Attempt,
    Callback,
    Listener,
    Promise,
    Schedule,
    Unblock,
    table,
)
from understudy_store.machine.transitions import TASK_TRANSITIONS
from understudy_store.pending_row import PENDING_COLUMNS, texts_to_json
from understudy_store.records import (
    HEADER_DROPPED,
    PENDING,
    RESOLVED,
    TAG_BRANCH,
    TAG_ORIGIN,
    TAG_TARGET,
    TAG_TIMER,
    TIMEDOUT,
    TRUE,
)

_promise = table(Promise)
_schedule = table(Schedule)
#: owners of slots, in a store that brokers share
_slot: Final = Table("slot", MetaData(), Column("slot", Integer), Column("writer", BigInteger))

#: tags that `pending_row.stored_tags` leaves out, and the columns that have them
_LEFT_OUT: Final[Mapping[str, Column[Any]]] = {
    TAG_ORIGIN: _promise.c.origin,
    TAG_BRANCH: _promise.c.branch,
    TAG_TARGET: _promise.c.target,
}
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
#: dialect, and the function that finds a text in another one; 0: it is not there
_FIND: Final[Mapping[str, Callable[[Column[Any], str], ColumnElement[int]]]] = {
    "sqlite": func.instr,
    "postgresql": func.strpos,
}
#: what a page of promises is measured by, and one of tasks, and one of schedules
_PROMISE_SIZES: Final = (
    *("param_data", "value_data", "param_headers", "value_headers", "tags"),
    *("origin", "branch", "target"),
)
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

#: `promise_columns` with the headers of payloads, and without their data
_headers_columns: Final = [
    null().label(each.name) if each.name in ("param_data", "value_data") else each
    for each in promise_columns
]


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
        self.dialect_name = dialect.name
        self._schemas = None if schema is None else {None: schema}
        self._owner = owner
        self._tagged = _TAGGED[dialect.name]
        self._among = _AMONG[dialect.name]
        self._length = _LENGTH[dialect.name]
        self._find = _FIND[dialect.name]
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
        made = self.owned(select(*promise_columns), _promise).where(_promise.c.branch == command.id)
        # Spelled as in the index of detached calls, so that the database sees that it may use it.
        is_root = and_(_promise.c.branch.is_not(None), _promise.c.origin == _promise.c.id)
        return union_all(
            made.where(_promise.c.origin == origin),
            made.where(is_root, _promise.c.id != origin),
        ).order_by(_promise.c.id)

    def search_promises(self, command: PromiseSearch, now: int) -> Select[Any]:
        """Select ids and sizes of a page of promises, and of one more."""
        query = self._sized(_promise, _PROMISE_SIZES).where(_promise.c.timeout_at >= 0)
        if command.origin is not None:
            query = query.where(_promise.c.origin == command.origin)
        if command.state is not None:
            query = query.where(self._in_state(command.state, now))
        query = self._with_tags(query, command.tags)
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

    def attempts(self, command: TaskAttempts) -> Select[Any]:
        """Select what the attempt log has of a task, in order."""
        attempt = table(Attempt)
        query = self.owned(select(*attempt_columns), attempt)
        return query.where(attempt.c.promise_id == command.id).order_by(attempt.c.n)

    def search_calls(self, command: CallSearch, now: int) -> Select[Any]:
        """Select a page of root calls without their payloads, and one more."""
        time = _time_of(command)
        query = self._calls(select(*_task_columns), command, now)
        place = None if command.cursor is None else call_place(command.cursor)
        if place is not None:
            query = query.where(tuple_(time, _promise.c.id) < tuple_(*place))
        return query.order_by(time.desc(), _promise.c.id.desc()).limit(command.limit + 1)

    def count_calls(self, command: CallSearch, now: int) -> Select[Any]:
        """Select the states of the newest calls that a search is for, each with their number."""
        time = _time_of(command)
        lapsed = case((self._tagged(TAG_TIMER, TRUE), RESOLVED), else_=TIMEDOUT)
        is_lapsed = and_(_PENDING, _promise.c.timeout_at <= now)
        state = case((is_lapsed, lapsed), else_=_promise.c.state)
        found = self._calls(select(state.label("state")), command, now)
        newest = found.order_by(time.desc(), _promise.c.id.desc()).limit(COUNTED_MAX).subquery()
        return select(newest.c.state, func.count()).group_by(newest.c.state)

    def _calls(self, query: Select[Any], command: CallSearch, now: int) -> Select[Any]:
        """Add the conditions of a search of calls, but for its cursor.

        Those of the indexes are spelled as there, so that the database sees that it may use them.
        """
        time = _time_of(command)
        is_live = command.states == (PENDING,)
        query = self.owned(query, _promise).where(condition(ROOTS if is_live else CALLS))
        if command.by_end:
            query = query.where(condition(FAILED), self._among(_promise.c.state, command.states))
        elif command.states:
            query = query.where(self._in_states(command.states, now))
        if command.since is not None:
            query = query.where(time >= command.since)
        if command.until is not None:
            query = query.where(time < command.until)
        # The index of failed calls, or of live ones, is short; else one of the two decides.
        is_short = command.by_end or is_live
        function, group = _promise.c.function, _promise.c.group_name
        if command.function is not None:
            query = query.where(
                (_unindexed(function) if is_short else function) == command.function
            )
        if command.group is not None:
            is_second = is_short or command.function is not None
            query = query.where((_unindexed(group) if is_second else group) == command.group)
        if command.error is not None:
            suffix = f".{command.error}"
            end = func.substr(_promise.c.error, func.length(_promise.c.error) - len(suffix) + 1)
            query = query.where(or_(_promise.c.error == command.error, end == suffix))
        if command.slow_ms:
            until = case((_promise.c.timeout_at < now, _promise.c.timeout_at), else_=now)
            took = func.coalesce(_promise.c.settled_at, until) - _promise.c.created_at
            query = query.where(took >= command.slow_ms)
        query = self._with_tags(query, command.tags)
        return _with_prefix(query, _unindexed(_promise.c.id), command.prefix)

    def _in_states(self, states: Sequence[str], now: int) -> ColumnElement[bool]:
        """Return the condition that a call has one of several states, and had when it was stored.

        A deadline that has passed is stored by the sweep of the same moment.
        """
        settled = [each for each in states if each != PENDING]
        if not settled:
            return _live(now)
        stored = self._among(_promise.c.state, settled)
        return or_(_live(now), stored) if PENDING in states else stored

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

    def ended_roots(self, wanted: Wanted, limit: int) -> Select[Any]:
        """Select the roots of settled call graphs, or tombstones, as `Root` has them."""
        if wanted.kind == "strays":
            return self._stray_origins(wanted, limit)
        place = tuple_(_promise.c.settled_at, _promise.c.id)
        trimmed = self._find(_promise.c.value_headers, f'"{HEADER_DROPPED}":')
        query: Select[Any] = select(
            *(_promise.c[name] for name in ("id", "state", "settled_at", "function")),
            *(_promise.c[name] for name in ("group_name", "retention", "branch")),
            (trimmed == 0).label("has_payloads"),
        ).where(condition({"kept": KEPT, "gone": GONE}.get(wanted.kind, ENDED)))
        query = self.owned(query, _promise).where(_promise.c.settled_at < wanted.before)
        if wanted.kind == "graphs":
            query = query.where(_promise.c.retention.is_(None))
        if wanted.after is not None:
            query = query.where(place > tuple_(*wanted.after))
        if wanted.function is not None:
            query = query.where(_unindexed(_promise.c.function) == wanted.function)
        if wanted.group is not None:
            query = query.where(_unindexed(_promise.c.group_name) == wanted.group)
        if wanted.states:
            query = query.where(self._among(_promise.c.state, wanted.states))
        query = _with_prefix(query, _unindexed(_promise.c.id), wanted.prefix)
        return query.order_by(_promise.c.settled_at, _promise.c.id).limit(limit)

    def _stray_origins(self, wanted: Wanted, limit: int) -> Select[Any]:
        """Select the roots of settled members that may be elsewhere, as `Root` has them."""
        origin = _promise.c.origin
        root = _promise.alias("root")
        trimmed = self._find(root.c.value_headers, f'"{HEADER_DROPPED}":')
        is_there = exists(
            select(1).where(root.c.id == origin, root.c.timeout_at >= 0, trimmed == 0)
        )
        none = null().label
        query: Select[Any] = self.owned(
            select(
                origin.label("id"),
                literal_column("'resolved'").label("state"),
                func.max(_promise.c.settled_at).label("settled_at"),
                *(none(name) for name in ("function", "group_name", "retention", "branch")),
                literal_column("1").label("has_payloads"),
                (~is_there).label("is_elsewhere"),
            ).where(condition(STRAY)),
            _promise,
        )
        if wanted.after is not None:
            query = query.where(origin > wanted.after[1])
        return query.group_by(origin).order_by(origin).limit(limit)

    def graph_sizes(self, roots: Sequence[str]) -> Select[Any]:
        """Select root, promises, pending ones and bytes of payloads of call graphs."""
        size: ColumnElement[int] = sum(
            (func.coalesce(self._length(_promise.c[n]), 0) for n in ("param_data", "value_data")),
            start=literal_column("0", Integer),
        )
        pending = case((_PENDING, 1), else_=0)
        query = select(_promise.c.origin, func.count(), func.sum(pending), func.sum(size))
        return query.where(self._among(_promise.c.origin, roots)).group_by(_promise.c.origin)

    def graph_members(self, roots: Sequence[str], limit: int) -> Select[Any]:
        """Select root, id and state of the promises of call graphs but for the roots."""
        query = select(_promise.c.origin, _promise.c.id, _promise.c.state)
        query = query.where(
            self._among(_promise.c.origin, roots), _promise.c.id != _promise.c.origin
        )
        return self.owned(query, _promise).limit(limit)

    def pointers(self, ids: Sequence[str], branches: Sequence[str]) -> list[Select[Any]]:
        """Select the promises to which a callback or an unblock points, and pending branches."""
        callback, unblock = table(Callback).c, table(Unblock).c
        return [
            select(callback.awaiter).where(self._among(callback.awaiter, ids)),
            select(unblock.promise_id).where(self._among(unblock.promise_id, ids)),
            select(_promise.c.id).where(_PENDING, self._among(_promise.c.id, branches)),
        ]

    def without_data(self, ids: Sequence[str]) -> Select[Any]:
        """Select the promises of `ids` without their data."""
        query = select(*_headers_columns).where(self._among(_promise.c.id, ids))
        return query.order_by(_promise.c.id)

    def _with_tags(self, query: Select[Any], tags: Mapping[str, str]) -> Select[Any]:
        """Add the condition that a promise has all these tags."""
        for key, text in tags.items():
            if key not in _LEFT_OUT:
                # What the text lacks need not be decoded, which is most of the work.
                piece = texts_to_json({key: text})[1:-1]
                query = query.where(self._find(_promise.c.tags, piece) > 0)
            query = query.where(self._has_tag(key, text))
        return query

    def _has_tag(self, key: str, text: str) -> ColumnElement[bool]:
        """Return the condition that a promise has a tag with a text, in its tags or a column."""
        stored = self._tagged(key, text)
        column = _LEFT_OUT.get(key)
        if column is None:
            return stored
        # As `pending_row.whole_tags` sees it.
        is_left_out = and_(
            column == text,
            *(self._find(_promise.c.tags, f'{before}"{key}":') == 0 for before in "{,"),
        )
        if key == TAG_ORIGIN:
            is_left_out = and_(is_left_out, _promise.c.id != text)
        return or_(stored, is_left_out)

    def _sized(self, target: Table, names: Sequence[str]) -> Select[Any]:
        """Select id and size of the rows in slots of the owner."""
        size: ColumnElement[int] = sum(
            (func.coalesce(self._length(target.c[name]), 0) for name in names),
            start=literal_column("0", Integer),
        )
        return self.owned(select(target.c.id, size.label("size")), target)

    def owned(self, query: Select[Any], target: Table) -> Select[Any]:
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


def _time_of(command: CallSearch) -> Column[int]:
    """Return the column by which a search of calls is ordered."""
    return _promise.c.settled_at if command.by_end else _promise.c.created_at


def _unindexed(column: Column[str]) -> ColumnElement[str]:
    """Return a column in a form for which the database takes no index: it would have to sort."""
    return func.coalesce(column, "")


def _live(now: int) -> ColumnElement[bool]:
    return and_(_PENDING, _promise.c.timeout_at > now)


def _page(
    query: Select[Any], id_: Column[Any], prefix: str, cursor: str | None, limit: int
) -> Select[Any]:
    """Order by id, after `cursor`; one more than `limit`, to know whether more follows."""
    query = _with_prefix(query, id_, prefix)
    if cursor is not None:
        query = query.where(id_ > cursor)
    return query.order_by(id_).limit(limit + 1)


def _with_prefix(query: Select[Any], id_: ColumnElement[str], prefix: str) -> Select[Any]:
    if prefix:
        query = query.where(id_ >= prefix)
        end = prefix_end(prefix)
        if end is not None:
            query = query.where(id_ < end)
    return query
