"""What each statement of the engine does to the model of the tables.

Their names are those of the texts in `understudy_store.engines.postgres.statements`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from psycopg import errors

from tests.simulation.shared.row_statements import ROW_STATEMENTS, Statement, Values, at_once
from tests.simulation.shared.server import (
    EXCLUSIVE,
    SHARE,
    Result,
    Session,
    SlotRow,
    Steps,
    WriterRow,
)
from understudy_store.slots import SLOTS

_SESSIONS_MAX: Final = 1_000_000


def _of_session(row: WriterRow | None, v: Values) -> bool:
    return row is not None and row.session == v["session"] and not row.fenced


def _of_start(row: WriterRow | None, v: Values) -> bool:
    """Return whether a row is that of this start, in any of its sessions."""
    return row is not None and 0 <= row.session - v["session"] <= _SESSIONS_MAX


def _change_writer(
    s: Session, id_: int, is_meant: Callable[[WriterRow], bool], **changed: Any
) -> Steps:
    """Update the row of a writer; return it, or None if it is not what is meant."""
    row = s.get("writer", id_)
    if row is None or not is_meant(row):
        return None
    yield from s.lock("writer", id_, EXCLUSIVE)
    row = s.latest("writer", id_)
    if not is_meant(row):
        return None
    row = row._replace(**changed)
    s.put("writer", id_, row)
    return row


def _share_writer(s: Session, id_: int, is_meant: Callable[[WriterRow | None], bool]) -> Steps:
    """Lock the row of a writer; return whether it is what is meant."""
    if not is_meant(s.get("writer", id_)):
        return False
    yield from s.lock("writer", id_, SHARE)
    return is_meant(s.latest("writer", id_))


# The fence, the journal and the follower ---------------------------------------------------------


def _commit(s: Session, v: Values) -> Steps:
    if not (yield from _share_writer(s, v["writer"], lambda row: _of_session(row, v))):
        row = s.latest("writer", v["writer"])
        why = "fenced" if row is None or row.fenced else "of an old session"
        s.server.world.counts[f"commits refused: {why}"] += 1
        return Result(0)
    key = v["writer"], v["number"]
    if s.latest("journal", key) is not None:
        raise errors.UniqueViolation("duplicate key")
    s.put("journal", key, v["data"])
    return Result(1)


def _next_session(s: Session, v: Values) -> Steps:
    row = s.get("writer", v["writer"])
    if not _of_start(row, v) or row.fenced:
        return Result(0)
    yield from s.lock("writer", v["writer"], EXCLUSIVE)
    row = s.latest("writer", v["writer"])
    if not _of_start(row, v) or row.fenced:
        return Result(0)
    s.put("writer", v["writer"], row._replace(session=row.session + 1))
    return Result(1, [(row.session + 1,)])


def _last_commit(s: Session, v: Values) -> Result:
    id_ = v["writer"]
    row = s.get("writer", id_)
    if not _of_start(row, v):
        return Result(0)
    numbers = [number for writer, number in s.rows("journal") if writer == id_]
    applied = s.get("progress", id_)
    if applied is not None:
        numbers.append(applied)
    return Result(1, [(row.fenced, max(numbers, default=None))])


def _unfenced(s: Session, v: Values) -> Steps:
    done = yield from _share_writer(s, v["writer"], lambda row: row is not None and not row.fenced)
    return Result(1, [(1,)]) if done else Result(0)


def _unfenced_session(s: Session, v: Values) -> Steps:
    done = yield from _share_writer(s, v["writer"], lambda row: _of_session(row, v))
    return Result(1, [(1,)]) if done else Result(0)


def _advance(s: Session, v: Values) -> Steps:
    id_ = v["writer"]
    if s.get("progress", id_) != v["before"]:
        return Result(0)
    yield from s.lock("progress", id_, EXCLUSIVE)
    if s.latest("progress", id_) != v["before"]:
        return Result(0)
    s.put("progress", id_, v["number"])
    return Result(1)


def _applied(s: Session, v: Values) -> Result:
    applied = s.get("progress", v["writer"])
    return Result(0) if applied is None else Result(1, [(applied,)])


def _forget_commits(s: Session, v: Values) -> Result:
    keys = [k for k in s.rows("journal") if k[0] == v["writer"] and k[1] <= v["number"]]
    for key in keys:
        s.put("journal", key, None)
    return Result(len(keys))


def _beat(s: Session, v: Values) -> Steps:
    id_ = v["writer"]
    row = s.get("writer", id_)
    if row is None or row.fenced or s.get("pulse", id_) is None:
        return Result(0)
    yield from s.lock("pulse", id_, EXCLUSIVE)
    if s.latest("pulse", id_) is None:
        return Result(0)
    s.put("pulse", id_, s.server.now_ms)
    return Result(1)


def _resign(s: Session, v: Values) -> Steps:
    row = yield from _change_writer(s, v["writer"], _is_unfenced, fenced=True)
    return Result(int(row is not None))


def _is_unfenced(row: WriterRow) -> bool:
    return not row.fenced


# Openings ----------------------------------------------------------------------------------------


def _register(s: Session, v: Values) -> Result:
    # A sequence is no part of any transaction.
    id_ = s.server.tables["sequence"].get("writer", 0) + 1
    s.server.write({"sequence": {"writer": id_}})
    s.put("writer", id_, WriterRow(v["name"], v["session"], False, v["address"], False))
    return Result(1, [(id_,)])


def _first_pulse(s: Session, v: Values) -> Result:
    s.put("pulse", v["writer"], s.server.now_ms)
    return Result(1)


def _first_progress(s: Session, v: Values) -> Result:
    s.put("progress", v["writer"], 0)
    return Result(1)


def _others(s: Session, v: Values) -> Result:
    now, found = s.server.now_ms, []
    for id_, row in sorted(s.rows("writer").items(), reverse=True):
        if id_ != v["writer"] and not row.fenced:
            seen_at = s.get("pulse", id_)
            age_s = None if seen_at is None else (now - seen_at) / 1000
            found.append((id_, row.name, row.address, row.joined, age_s))
    return Result(len(found), found)


def _mark_shared(s: Session, _: Values) -> Steps:
    yield from s.lock("meta", "shared", EXCLUSIVE)
    if s.latest("meta", "shared") is not None:
        return Result(0)
    s.put("meta", "shared", "1")
    return Result(1)


def _join(s: Session, v: Values) -> Steps:
    changed = {"joined": True, "name": v["name"], "address": v["address"]}
    row = yield from _change_writer(s, v["writer"], lambda _: True, **changed)
    return Result(int(row is not None))


def _lock_of_openings(s: Session, _: object) -> Steps:
    yield from s.lock("openings", 0, EXCLUSIVE)
    return Result(0)


# Takeovers ---------------------------------------------------------------------------------------


def _end_sessions(s: Session, v: Values) -> Result:
    if not s.server.world.plan.ends_sessions:
        raise errors.InsufficientPrivilege("permission denied to terminate process")
    count = s.server.end_sessions(name for name in v["names"] if name != s.name)
    s.server.world.counts["sessions ended by a taker"] += count
    return Result(count, [(True,)] * count)


def _sessions(s: Session, v: Values) -> Result:
    names = sorted({each.name for each in s.server.sessions}.intersection(v["names"]))
    return Result(len(names), [(name,) for name in names])


def _fence(s: Session, v: Values) -> Steps:
    fenced = []

    def is_dead(row: WriterRow | None) -> bool:
        seen_at = s.get("pulse", id_)
        late = seen_at is None or seen_at <= s.server.now_ms - v["lease"] * 1000
        return row is not None and not row.fenced and late

    for id_ in sorted(v["ids"]):
        if not is_dead(s.get("writer", id_)):
            continue
        yield from s.lock("writer", id_, EXCLUSIVE)
        row = s.latest("writer", id_)
        if is_dead(row):
            s.put("writer", id_, row._replace(fenced=True))
            s.server.world.counts["takeovers"] += row.joined
            s.taken.append(id_)
            if v["lease"]:
                s.server.ledger.on_late(id_)
            fenced.append((id_,))
    return Result(len(fenced), fenced)


def _left_in_journal(s: Session, v: Values) -> Result:
    rows = [
        (writer, applied, number, data)
        for (writer, number), data in sorted(s.rows("journal").items())
        if writer in v["ids"] and (applied := s.get("progress", writer)) is not None
    ]
    return Result(len(rows), rows)


def _forget_journals(s: Session, v: Values) -> Result:
    keys = [key for key in s.rows("journal") if key[0] in v["ids"]]
    for key in keys:
        s.put("journal", key, None)
    return Result(len(keys))


def _forget(table: str, v: Iterable[int], s: Session) -> Steps:
    count = 0
    for id_ in v:
        if s.get(table, id_) is not None:
            yield from s.lock(table, id_, EXCLUSIVE)
            if s.latest(table, id_) is not None:
                s.put(table, id_, None)
                count += 1
    return Result(count)


# Slots -------------------------------------------------------------------------------------------


def _living(s: Session) -> list[tuple[int, WriterRow]]:
    return [(id_, row) for id_, row in sorted(s.rows("writer").items()) if _is_living(row)]


def _is_living(row: WriterRow) -> bool:
    return row.joined and not row.fenced and row.address is not None


def _brokers(s: Session) -> list[list[str | None]] | None:
    return [[str(id_), row.name, row.address] for id_, row in _living(s)] or None


def _holdings(s: Session, _: Values) -> Result:
    slots = s.rows("slot")
    owners = [slots[slot].writer for slot in range(SLOTS)]
    epochs = [slots[slot].epoch for slot in range(SLOTS)]
    return Result(1, [(s.server.version(slots), _brokers(s), owners, epochs)])


def _look(s: Session, v: Values) -> Steps:
    beaten = yield from _beat(s, v)
    slots, now = s.snapshot["slot"], s.server.now_ms
    version = s.server.version(slots)
    owners = None
    if version != v["known"]:
        owners = [slots[slot].writer for slot in range(SLOTS)]
    late = now - v["lease"] * 1000
    dead = [
        id_
        for id_, row in sorted(s.snapshot["writer"].items())
        if not row.fenced
        and id_ != v["writer"]
        and ((seen_at := s.snapshot["pulse"].get(id_)) is None or seen_at <= late)
    ]
    ns = now * 1_000_000
    return Result(1, [(ns, beaten.changed, version, _brokers(s), owners, dead or None)])


def _leave(s: Session, v: Values) -> Steps:
    row = yield from _change_writer(s, v["writer"], lambda _: True, joined=False)
    return Result(int(row is not None))


def _receivers(s: Session, _: Values) -> Result:
    found = []
    for id_, _row in _living(s):
        if s.server.try_lock(s, ("writer", id_), SHARE):
            row = s.latest("writer", id_)
            if _is_living(row):
                found.append((id_, row.name))
    return Result(len(found), found)


def _orphans(s: Session, _: Values) -> Steps:
    fenced = {id_ for id_, row in s.rows("writer").items() if row.fenced}

    def is_orphan(row: SlotRow) -> bool:
        return row.writer is None or row.writer in fenced

    found = []
    for slot, row in sorted(s.rows("slot").items()):
        if is_orphan(row):
            yield from s.lock("slot", slot, EXCLUSIVE)
            row = s.latest("slot", slot)
            if is_orphan(row):
                found.append((slot, row.writer))
    return Result(len(found), found)


def _give_orphans(s: Session, v: Values) -> Steps:
    for slot, writer in zip(v["slots"], v["writers"], strict=True):
        yield from s.lock("slot", slot, EXCLUSIVE)
        s.put("slot", slot, SlotRow(writer, s.latest("slot", slot).epoch + 1))
    return Result(len(v["slots"]))


def _epochs(s: Session, v: Values) -> Result:
    rows = [
        (slot, row.epoch) for slot, row in sorted(s.rows("slot").items())
        if row.writer == v["writer"]
    ]  # fmt: skip
    return Result(len(rows), rows)


def _hand_over(s: Session, v: Values) -> Steps:
    count = 0
    for slot, epoch, writer in zip(v["slots"], v["epochs"], v["writers"], strict=True):
        meant = SlotRow(v["writer"], epoch)
        if s.get("slot", slot) == meant:
            yield from s.lock("slot", slot, EXCLUSIVE)
            if s.latest("slot", slot) == meant:
                s.put("slot", slot, SlotRow(writer, epoch + 1))
                count += 1
    s.server.world.counts["hand-overs"] += count > 0
    s.server.world.counts["hand-overs to nobody"] += not count
    return Result(count)


def _own(s: Session, v: Values) -> Result:
    slots = s.rows("slot")
    return Result(1, [(sum(slots[slot].writer == v["writer"] for slot in v["slots"]),)])


def _set_lock_timeout(s: Session, v: int) -> Result:
    s.lock_timeout_ms = v
    return Result(0)


def _set_name(s: Session, v: Sequence[str]) -> Result:
    s.name = v[0]
    return Result(1, [(v[0],)])


def _none(_s: Session, _v: object) -> Result:
    return Result(0)


STATEMENTS: Final[Mapping[str, Statement]] = {
    **ROW_STATEMENTS,
    "commit": _commit,
    "next_session": _next_session,
    "last_commit": at_once(_last_commit),
    "unfenced": _unfenced,
    "unfenced_session": _unfenced_session,
    "advance": _advance,
    "applied": at_once(_applied),
    "forget_commits": at_once(_forget_commits),
    "vacuum": at_once(_none),
    "make_given": at_once(_none),
    "beat": _beat,
    "resign": _resign,
    "stop_pulse": lambda s, v: _forget("pulse", [v["writer"]], s),
    "register": at_once(_register),
    "first_pulse": at_once(_first_pulse),
    "first_progress": at_once(_first_progress),
    "others": at_once(_others),
    "identity": at_once(lambda s, _: Result(1, [(s.get("meta", "store"),)])),
    "is_shared": at_once(
        lambda s, _: Result(1, [(1,)]) if s.get("meta", "shared") is not None else Result(0)
    ),
    "mark_shared": _mark_shared,
    "part_waits": at_once(_none),
    "join": _join,
    "lock of openings": _lock_of_openings,
    "end_sessions": at_once(_end_sessions),
    "sessions": at_once(_sessions),
    "fence": _fence,
    "left_in_journal": at_once(_left_in_journal),
    "forget_journals": at_once(_forget_journals),
    "forget_pulses": lambda s, v: _forget("pulse", v["ids"], s),
    "forget_progress": lambda s, v: _forget("progress", v["ids"], s),
    "holdings": at_once(_holdings),
    "look": _look,
    "leave": _leave,
    "receivers": at_once(_receivers),
    "orphans": _orphans,
    "give_orphans": _give_orphans,
    "epochs": at_once(_epochs),
    "hand_over": _hand_over,
    "own": at_once(_own),
    "set lock_timeout": at_once(_set_lock_timeout),
    "set application_name": at_once(_set_name),
}
