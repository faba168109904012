"""What statements about rows of promises do to the model of the tables; see `statements`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from psycopg import errors

from tests.simulation.shared.server import EXCLUSIVE, Result, Session, Steps
from understudy_store.engines.sql.rows import PROMISE_COLUMNS, SCHEDULE_COLUMNS, UPDATE_COLUMNS
from understudy_store.pending_row import PENDING_COLUMNS
from understudy_store.slots import slot_of

Values: TypeAlias = Mapping[str, Any]
Statement: TypeAlias = Callable[[Session, Any], Steps]

_PLACE: Final = {name: place for place, name in enumerate(PROMISE_COLUMNS)}
_STATE, _SLOT, _BRANCH, _ORIGIN = (_PLACE[name] for name in ("state", "slot", "branch", "origin"))
_PENDING_PLACES: Final = [_PLACE[name] for name in PENDING_COLUMNS]
_UPDATED_PLACES: Final = [_PLACE[name] for name in UPDATE_COLUMNS]
_SCHEDULE_SLOT: Final = SCHEDULE_COLUMNS.index("slot")


def at_once(act: Callable[[Session, Any], Result]) -> Statement:
    """Make a statement of something that waits for nothing."""

    def statement(s: Session, v: Any) -> Steps:
        yield from ()
        return act(s, v)

    return statement


def _load_promises(s: Session, v: Values) -> Result:
    rows = [
        tuple(row[place] for place in _PENDING_PLACES)
        for row in s.rows("promise").values()
        if row[_STATE] == "pending" and row[_SLOT] in v["slots"]
    ]
    return Result(len(rows), rows)


def _load_pairs(table: str) -> Statement:
    def load(s: Session, v: Values) -> Result:
        rows = [(a, b) for a, b, slot in s.rows(table) if slot in v["slots"]]
        return Result(len(rows), rows)

    return at_once(load)


def _load_unblocks(s: Session, v: Values) -> Result:
    rows = [
        (*s.get("promise", id_), address)
        for id_, address, slot in s.rows("unblock")
        if slot in v["slots"]
    ]
    return Result(len(rows), rows)


def _load_schedules(s: Session, v: Values) -> Result:
    rows = [row for row in s.rows("schedule").values() if row[_SCHEDULE_SLOT] in v["slots"]]
    return Result(len(rows), rows)


def _now(s: Session, _: Values) -> Result:
    return Result(1, [(s.get("meta", "now"),)])


def _set_now(s: Session, v: Values) -> Steps:
    now = int(v["now"])
    if s.get("meta", "now") >= now:
        return Result(0)
    yield from s.lock("meta", "now", EXCLUSIVE)
    if s.latest("meta", "now") >= now:
        return Result(0)
    s.put("meta", "now", now)
    return Result(1)


def _find_promises(s: Session, v: Sequence[Any]) -> Result:
    rows = [row for id_ in v[0] if (row := s.get("promise", id_)) is not None]
    return Result(len(rows), rows)


def _first_id(s: Session, v: Sequence[Any]) -> Result:
    first = min((id_ for id_ in s.rows("promise") if id_ >= v[0]), default=None)
    return Result(1, [(first,)])


def _copy_promises(s: Session, rows: Sequence[tuple[Any, ...]]) -> Result:
    for row in rows:
        if s.latest("promise", row[0]) is not None:
            raise errors.UniqueViolation("duplicate key")
        s.put("promise", row[0], tuple(row))
    return Result(len(rows))


def _copy_given(s: Session, rows: Sequence[tuple[Any, ...]]) -> Result:
    s.given = list(rows)
    return Result(len(rows))


def _update_promises(s: Session, _: Values) -> Result:
    count = 0
    for values in s.given:
        row = s.latest("promise", values[0])
        if row is not None:
            changed = list(row)
            for place, value in zip(_UPDATED_PLACES, values, strict=True):
                changed[place] = value
            s.put("promise", values[0], tuple(changed))
            count += 1
    return Result(count)


def _add(table: str) -> Statement:
    def add(s: Session, many: Iterable[Sequence[Any]]) -> Result:
        for key in many:
            s.put(table, tuple(key), True)
        return Result(1)

    return at_once(add)


def _remove(table: str) -> Statement:
    def remove(s: Session, v: Sequence[Any]) -> Result:
        keys = [key for key in s.rows(table) if key[0] in v[0]]
        for key in keys:
            s.put(table, key, None)
        return Result(len(keys))

    return at_once(remove)


def _remove_unblock(s: Session, many: Iterable[Sequence[Any]]) -> Result:
    for id_, address in many:
        key = id_, address, slot_of(id_)
        if s.get("unblock", key) is not None:
            s.put("unblock", key, None)
    return Result(1)


def _delete_schedules(s: Session, v: Sequence[Any]) -> Result:
    for id_ in v[0]:
        if s.get("schedule", id_) is not None:
            s.put("schedule", id_, None)
    return Result(1)


def _put_schedule(s: Session, many: Iterable[Sequence[Any]]) -> Result:
    for row in many:
        s.put("schedule", row[0], tuple(row))
    return Result(1)


def _add_attempt(s: Session, many: Iterable[Sequence[Any]]) -> Result:
    for row in many:
        if s.latest("attempt", tuple(row[:2])) is not None:
            raise errors.UniqueViolation("duplicate key")
        s.put("attempt", tuple(row[:2]), tuple(row))
    return Result(1)


def _remove_attempt(s: Session, many: Iterable[Sequence[Any]]) -> Result:
    for key in many:
        if s.get("attempt", tuple(key)) is not None:
            s.put("attempt", tuple(key), None)
    return Result(1)


def _preload(s: Session, v: Values) -> Result:
    """Do what `Queries.preload` selects."""
    s.server.ledger.on_answer(v["owner"])
    task = s.get("promise", v["id"])
    if task is None:
        return Result(0)
    slots = s.rows("slot")
    rows = [
        row
        for id_, row in sorted(s.rows("promise").items())
        if row[_BRANCH] == v["id"]
        and row[_ORIGIN] in (task[_ORIGIN], id_)
        and slots[row[_SLOT]].writer == v["owner"]
    ]
    for row in rows:
        s.server.ledger.on_read(row)
    return Result(len(rows), rows)


ROW_STATEMENTS: Final[Mapping[str, Statement]] = {
    "load_promises": at_once(_load_promises),
    "load_callbacks": _load_pairs("callback"),
    "load_listeners": _load_pairs("listener"),
    "load_unblocks": at_once(_load_unblocks),
    "load_schedules": at_once(_load_schedules),
    "now": at_once(_now),
    "set_now": _set_now,
    "find_promises": at_once(_find_promises),
    "first_id": at_once(_first_id),
    "copy_promises": at_once(_copy_promises),
    "copy_given": at_once(_copy_given),
    "update_promises": at_once(_update_promises),
    "add_callbacks": _add("callback"),
    "add_listeners": _add("listener"),
    "add_unblocks": _add("unblock"),
    "remove_callbacks": _remove("callback"),
    "remove_listeners": _remove("listener"),
    "remove_unblock": at_once(_remove_unblock),
    "delete_schedules": at_once(_delete_schedules),
    "put_schedule": at_once(_put_schedule),
    "add_attempt": at_once(_add_attempt),
    "remove_attempt": at_once(_remove_attempt),
    "preload": at_once(_preload),
}
