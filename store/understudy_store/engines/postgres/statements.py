"""The statements that are written by hand: of the fence, the journal and the follower.

The columns of promises and schedules come from `engines.sql`. Names are qualified by the schema,
because a search path is a setting of the session.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Text

from understudy_store.engines.sql.rows import (
    ATTEMPT_COLUMNS,
    PROMISE_COLUMNS,
    SCHEDULE_COLUMNS,
    UPDATE_COLUMNS,
)
from understudy_store.engines.sql.tables import (
    Callback,
    Listener,
    Promise,
    StoreModel,
    Unblock,
    table,
)
from understudy_store.pending_row import PENDING_COLUMNS

#: Name of the temporary table that holds the rows of an update. Every session has its own.
GIVEN: Final = "pg_temp.understudy_given"
#: types of columns, as COPY in its binary format is told them
_TYPES: Final = {Text: "text", BigInteger: "int8", Integer: "int4", LargeBinary: "bytea"}


def type_of(column: Column[object]) -> str:
    """Return PostgreSQL's name of a column's type."""
    for kind, name in _TYPES.items():
        if isinstance(column.type, kind):
            return name
    raise TypeError(f"column {column.name} has a type that the engine does not copy")


def types_of(model: type[StoreModel], names: tuple[str, ...]) -> list[str]:
    """Return the types of columns, in their order."""
    return [type_of(table(model).c[name]) for name in names]


def _listed(names: tuple[str, ...] | list[str], prefix: str = "") -> str:
    return ", ".join(f"{prefix}{name}" for name in names)


class Statements:
    """The texts for one schema. Parameters are those of psycopg.

    Parameters
    ----------
    schema
        A plain identifier.
    """

    def __init__(self, schema: str) -> None:
        # In quotes, because it may be a word of SQL.
        quoted = f'"{schema}"'
        self._texts_of_fence(quoted)
        self._texts_of_opening(quoted)
        self._texts_of_takeover(quoted)
        self._texts_of_rows(quoted)
        self._texts_of_slots(quoted)

    def _texts_of_fence(self, s: str) -> None:
        #: The commit: one row is durable, no row is refused. The share lock is what the fence and
        #: the next session wait for. Its parameters are in libpq's notation (`Prepared`):
        #: writer, session, number, data.
        self.commit = (
            f"insert into {s}.journal (writer, number, data) "
            f"select w.id, $3, $4 from {s}.writer w "
            f"where w.id = $1 and w.session = $2 and not w.fenced for share"
        )
        #: A writer's start draws its first session at random, so that a start which another server
        #: numbered the same is told apart.
        self.next_session = (
            f"update {s}.writer set session = session + 1 where id = %(writer)s and not fenced "
            "and session between %(session)s and %(session)s + 1000000 returning session"
        )
        #: the last commit that the database has of a writer, and whether it is fenced
        self.last_commit = (
            "select w.fenced, greatest(p.applied, "
            f"(select max(j.number) from {s}.journal j where j.writer = w.id)) "
            f"from {s}.writer w left join {s}.progress p on p.writer = w.id "
            "where w.id = %(writer)s and w.session between %(session)s and %(session)s + 1000000"
        )
        self.unfenced = f"select 1 from {s}.writer where id = %(writer)s and not fenced for share"
        self.is_fenced = f"select fenced from {s}.writer where id = %(writer)s"
        self.advance = (
            f"update {s}.progress set applied = %(number)s "
            "where writer = %(writer)s and applied = %(before)s"
        )
        self.applied = f"select applied from {s}.progress where writer = %(writer)s"
        self.forget_commits = (
            f"delete from {s}.journal where writer = %(writer)s and number <= %(number)s"
        )
        #: not while another broker does it
        self.vacuum = f"vacuum (truncate off, index_cleanup on, skip_locked) {s}.journal"
        self.beat = (
            f"update {s}.pulse p set seen_at = clock_timestamp() from {s}.writer w "
            "where p.writer = %(writer)s and w.id = p.writer and not w.fenced"
        )
        self.resign = f"update {s}.writer set fenced = true where id = %(writer)s and not fenced"
        self.stop_pulse = f"delete from {s}.pulse where writer = %(writer)s"

    def _texts_of_opening(self, s: str) -> None:
        self.register = (
            f"insert into {s}.writer (name, session, address, joined) "
            "values (%(name)s, %(session)s, %(address)s, false) returning id"
        )
        #: the same in a store that is still to be migrated
        self.register_before = (
            f"insert into {s}.writer (name, session) values (%(name)s, %(session)s) returning id"
        )
        self.first_pulse = f"insert into {s}.pulse values (%(writer)s, clock_timestamp())"
        self.first_progress = f"insert into {s}.progress values (%(writer)s, 0)"
        #: Other writers that are not fenced, the latest first, with the ages of their pulses in s.
        #: In a store that is still to be migrated they have no address, and count as joined.
        self.others = (
            "select w.id, w.name, to_jsonb(w) ->> 'address', "
            "coalesce((to_jsonb(w) ->> 'joined')::boolean, true), "
            "extract(epoch from clock_timestamp() - p.seen_at)::float8 "
            f"from {s}.writer w left join {s}.pulse p on p.writer = w.id "
            "where w.id <> %(writer)s and not w.fenced order by w.id desc"
        )
        self.identity = (
            f"select value from {s}.meta where key in ('deployment', 'store') order by key limit 1"
        )
        self.deployment = f"select value from {s}.meta where key = 'deployment'"
        self.name_deployment = (
            f"insert into {s}.meta (key, value) values ('deployment', %(deployment)s)"
        )
        self.fact = f"select value from {s}.meta where key = 'owner.' || %(key)s"
        self.put_fact = (
            f"insert into {s}.meta (key, value) values ('owner.' || %(key)s, %(text)s) "
            "on conflict (key) do update set value = excluded.value"
        )
        self.is_shared = f"select 1 from {s}.meta where key = 'shared'"
        self.mark_shared = (
            f"insert into {s}.meta (key, value) values ('shared', '1') on conflict do nothing"
        )
        #: What tasks wait for in other slots than their own, which callbacks alone said so far. The
        #: callbacks stay with what is awaited, and do no harm there.
        self.part_waits = (
            f"update {s}.promise p set awaits = w.ids from ("
            "select c.awaiter, jsonb_agg(c.awaited order by c.awaited)::text as ids "
            f"from {s}.callback c join {s}.promise a on a.id = c.awaiter "
            "where a.state = 'pending' and a.slot <> c.slot group by c.awaiter"
            ") w where p.id = w.awaiter"
        )
        self.join = (
            f"update {s}.writer set joined = true, name = %(name)s, address = %(address)s "
            "where id = %(writer)s"
        )

    def _texts_of_takeover(self, s: str) -> None:
        self.end_sessions = (
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and application_name = any(%(names)s)"
        )
        #: Sessions of other roles show no name, so no broker counts as gone that was never seen.
        self.sessions = (
            "select distinct application_name from pg_stat_activity "
            "where datname = current_database() and application_name = any(%(names)s)"
        )
        self.fence = (
            f"update {s}.writer w set fenced = true where w.id = any(%(ids)s) and not w.fenced "
            f"and not exists (select 1 from {s}.pulse p where p.writer = w.id "
            "and p.seen_at > clock_timestamp() - make_interval(secs => %(lease)s)) returning w.id"
        )
        self.left_in_journal = (
            f"select j.writer, p.applied, j.number, j.data from {s}.journal j "
            f"join {s}.progress p on p.writer = j.writer "
            "where j.writer = any(%(ids)s) order by j.writer, j.number"
        )
        self.forget_journals = f"delete from {s}.journal where writer = any(%(ids)s)"
        self.forget_pulses = f"delete from {s}.pulse where writer = any(%(ids)s)"
        self.forget_progress = f"delete from {s}.progress where writer = any(%(ids)s)"

    def _texts_of_slots(self, s: str) -> None:
        #: brokers that have slots or may be given some
        living = f"from {s}.writer where joined and not fenced and address is not null"
        holdings = (
            f"(select sum(epoch)::int8 from {s}.slot), "
            f"(select array_agg(array[id::text, name, address] order by id) {living}), "
        )
        owners = f"select array_agg(writer order by slot) from {s}.slot"
        #: the holdings, as one statement sees them, and the epoch of each slot
        self.holdings = (
            f"select {holdings} ({owners}), (select array_agg(epoch order by slot) from {s}.slot)"
        )
        #: The same with a beat: the time in ns, the number of beats, the holdings, of which the
        #: owners only if they are others than those known, and the writers whose pulse is too old.
        self.look = (
            f"with beaten as ({self.beat} returning 1) "
            "select (extract(epoch from clock_timestamp()) * 1e9)::int8, "
            f"(select count(*) from beaten), {holdings} "
            f"(case when (select sum(epoch) from {s}.slot) <> %(known)s then ({owners}) end), "
            f"(select array_agg(w.id order by w.id) from {s}.writer w "
            f"left join {s}.pulse p on p.writer = w.id "
            "where not w.fenced and w.id <> %(writer)s and (p.seen_at is null or "
            "p.seen_at <= clock_timestamp() - make_interval(secs => %(lease)s)))"
        )
        #: Of this session: an attempt whose answer was lost can do nothing later.
        self.unfenced_session = (
            f"select 1 from {s}.writer where id = %(writer)s and session = %(session)s "
            "and not fenced for share"
        )
        #: It still has its slots, and nobody gives it others.
        self.leave = f"update {s}.writer set joined = false where id = %(writer)s"
        #: Brokers that can be given slots, kept from being fenced meanwhile. One whose row is
        #: locked is being fenced, most often, and is left out.
        self.receivers = f"select id, name {living} order by id for share skip locked"
        #: Slots of nobody, or of fenced writers. Not those of all but the living: the owner of a
        #: slot that has just changed hands may be newer than what this statement sees.
        self.orphans = (
            f"select slot, writer from {s}.slot where writer is null "
            f"or writer in (select id from {s}.writer where fenced) order by slot for update"
        )
        self.give_orphans = (
            f"update {s}.slot k set writer = g.writer, epoch = k.epoch + 1 "
            "from unnest(%(slots)s::int4[], %(writers)s::int8[]) as g (slot, writer) "
            "where k.slot = g.slot"
        )
        self.epochs = f"select slot, epoch from {s}.slot where writer = %(writer)s"
        self.hand_over = (
            f"update {s}.slot k set writer = g.writer, epoch = k.epoch + 1 "
            "from unnest(%(slots)s::int4[], %(epochs)s::int8[], %(writers)s::int8[]) "
            "as g (slot, epoch, writer) "
            "where k.slot = g.slot and k.epoch = g.epoch and k.writer = %(writer)s"
        )
        given = "slot = any(%(slots)s)"
        self.own = f"select count(*) from {s}.slot where {given} and writer = %(writer)s"
        self.load_promises = (
            f"select {_listed(PENDING_COLUMNS)} from {s}.promise "
            f"where state = 'pending' and {given}"
        )
        self.load_callbacks = f"select awaited, awaiter from {s}.callback where {given}"
        self.load_listeners = f"select awaited, address from {s}.listener where {given}"
        self.load_unblocks = f"{self.unblocks} where u.{given}"
        self.load_schedules = f"{self.schedules} where {given}"

    def _texts_of_rows(self, s: str) -> None:
        key, *others = UPDATE_COLUMNS
        given = [f"{name} {type_of(table(Promise).c[name])}" for name in UPDATE_COLUMNS]
        self.make_given = (
            f"create temporary table if not exists {GIVEN} ({', '.join(given)}) "
            "on commit delete rows"
        )
        self.copy_promises = (
            f"copy {s}.promise ({_listed(PROMISE_COLUMNS)}) from stdin (format binary)"
        )
        self.copy_given = f"copy {GIVEN} ({_listed(UPDATE_COLUMNS)}) from stdin (format binary)"
        sets = ", ".join(f"{name} = g.{name}" for name in others)
        self.update_promises = (
            f"update {s}.promise p set {sets} from {GIVEN} g where p.{key} = g.{key}"
        )
        self.add_callbacks = _add(s, Callback)
        self.add_listeners = _add(s, Listener)
        self.add_unblocks = _add(s, Unblock)
        self.remove_callbacks = f"delete from {s}.callback where awaited = any(%s)"
        self.remove_listeners = f"delete from {s}.listener where awaited = any(%s)"
        self.remove_unblock = f"delete from {s}.unblock where promise_id = %s and address = %s"
        self.delete_schedules = f"delete from {s}.schedule where id = any(%s)"
        self.put_schedule = (
            f"insert into {s}.schedule ({_listed(SCHEDULE_COLUMNS)}) "
            f"values ({', '.join(['%s'] * len(SCHEDULE_COLUMNS))})"
        )
        self.add_attempt = (
            f"insert into {s}.attempt ({_listed(ATTEMPT_COLUMNS)}) "
            f"values ({', '.join(['%s'] * len(ATTEMPT_COLUMNS))})"
        )
        self.remove_attempt = f"delete from {s}.attempt where promise_id = %s and n = %s"
        self.purge_promises = f"delete from {s}.promise where id = any(%s)"
        self.purge_attempts = f"delete from {s}.attempt where promise_id = any(%s)"
        self.set_now = (
            f"update {s}.meta set value = %(now)s where key = 'now' "
            "and value::bigint < %(now)s::bigint"
        )
        self.now = f"select value::bigint from {s}.meta where key = 'now'"
        self.find_promises = (
            f"select {_listed(PROMISE_COLUMNS)} from {s}.promise where id = any(%s)"
        )
        self.first_id = f"select min(id) from {s}.promise where id >= $1"
        self.unblocks = (
            f"select {_listed(PROMISE_COLUMNS, 'p.')}, u.address from {s}.unblock u "
            f"join {s}.promise p on p.id = u.promise_id"
        )
        self.schedules = f"select {_listed(SCHEDULE_COLUMNS)} from {s}.schedule"


def _add(schema: str, model: type[StoreModel]) -> str:
    target = table(model)
    names = [column.name for column in target.c]
    return (
        f"insert into {schema}.{target.name} ({_listed(names)}) "
        f"values ({', '.join(['%s'] * len(names))}) on conflict do nothing"
    )
