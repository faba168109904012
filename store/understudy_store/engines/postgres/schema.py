"""The schema of a PostgreSQL store: the tables of `engines.sql`, and those of the fence.

They are made or migrated within the caller's transaction, under a lock that one opener has at a
time. An opening that has nothing to change takes no such lock, because a broker that is paused
while it opens could hold it for hours.
"""

from __future__ import annotations

import secrets
from zlib import crc32

from sqlalchemy import Connection, MetaData, Text, text

from understudy_store.engines.sql import migrations
from understudy_store.engines.sql.tables import METADATA, Promise
from understudy_store.errors import StoreFormatError, StoreVersionError

#: The tables that a store over SQLite has no use for. The journal's rows live for about a second:
#: its bytes are not compressed on the way, and the server's vacuum comes often and at full speed.
#: Pages of rows that are updated all the time keep room for the next version beside the last.
#: A writer has an address if it shares the store, and has joined once its opening is over.
_FENCE = """
create table writer (
    id bigint generated always as identity primary key,
    name text not null,
    session bigint not null,
    fenced boolean not null default false,
    address text,
    joined boolean not null default true
) with (fillfactor = 10);
create index writer_living on writer (id) where not fenced;
create table pulse (
    writer bigint primary key,
    seen_at timestamptz not null
) with (fillfactor = 10);
create table progress (
    writer bigint primary key,
    applied bigint not null
) with (fillfactor = 10);
create table journal (
    writer bigint,
    number bigint,
    data bytea not null,
    primary key (writer, number)
) with (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 20000,
    toast.autovacuum_vacuum_cost_delay = 0
);
alter table journal alter column data set storage external;
create table slot (
    slot integer primary key,
    writer bigint,
    epoch bigint not null default 0
) with (fillfactor = 50);
insert into slot (slot) select generate_series(0, 255);
create index promise_slot on promise (slot) where state = 'pending';
create index callback_slot on callback (slot);
create index listener_slot on listener (slot);
create index unblock_slot on unblock (slot);
create index schedule_slot on schedule (slot)
"""
#: Of every revision. The tables of slots and attempts came later.
_NAMES = ("writer", "pulse", "progress", "journal", *(METADATA.tables.keys() - {"attempt"}))


def metadata_of() -> MetaData:
    """Return the tables of `engines.sql` in PostgreSQL's form.

    Texts are compared byte by byte, whatever the locale of the database is, and pages of promises
    keep room for the update that most of them get.
    """
    metadata = MetaData()
    for described in METADATA.tables.values():
        made = described.to_metadata(metadata)
        for column in made.c:
            if isinstance(column.type, Text):
                column.type = Text(collation="C")
    metadata.tables[str(Promise.__tablename__)].dialect_kwargs["postgresql_with"] = {
        "fillfactor": 90
    }
    return metadata


def lock(connection: Connection, schema: str) -> None:
    """Work in `schema` until the end of the transaction, alone among all that change its tables."""
    key = crc32(f"understudy {schema}".encode())
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": key})
    connection.exec_driver_sql(f'set local search_path to "{schema}"')


def revision_of(connection: Connection, schema: str, name: str) -> str | None:
    """Return the revision of the store in `schema`; None if there is none yet.

    A store of a later revision counts as one of the latest that is known here, if brokers of that
    can work with it.

    Raises
    ------
    StoreFormatError
        The schema has something else.
    StoreVersionError
        A newer understudy made the store.
    """
    found = set(
        connection.execute(
            text(
                "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
                "where n.nspname = :schema and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')"
            ),
            {"schema": schema},
        ).scalars()
    )
    if not found:
        return None
    if not found.issuperset((*_NAMES, migrations.VERSION_TABLE)):
        raise StoreFormatError(
            f"the schema {schema!r} of the database {name} has tables, but is no store of "
            f"understudy ({', '.join(sorted(found)[:3])}). It was left as it was: name another "
            "schema, by '?schema=NAME' at the end of the store's URL"
        )
    version = f'select version_num from "{schema}".{migrations.VERSION_TABLE}'
    revision = connection.execute(text(version)).scalar()
    if revision not in migrations.REVISIONS:
        fact = text(f'select value from "{schema}".meta where key = :key')
        oldest = connection.execute(fact, {"key": migrations.OLDEST_KEY}).scalar()
        if oldest in migrations.REVISIONS:
            return migrations.HEAD  # What is newer was only added.
        raise StoreVersionError(
            f"the store {name} has schema {revision}; this understudy knows schemas up to "
            f"{migrations.HEAD}. A newer one made it: upgrade understudy, or name another store"
        )
    return str(revision)


def create(connection: Connection, schema: str) -> None:
    """Make an empty store in `schema`, after `lock` and if it still has nothing."""
    exists = text("select 1 from pg_namespace where nspname = :schema")
    if connection.execute(exists, {"schema": schema}).first() is None:
        # A role may be allowed to use the schema that was made for it, and none else.
        connection.exec_driver_sql(f'create schema "{schema}"')
    facts = {
        "now": "0",
        "store": secrets.token_hex(8),
        migrations.OLDEST_KEY: migrations.oldest(),
    }
    migrations.create(connection, facts, metadata_of())
    for statement in _FENCE.split(";"):
        connection.exec_driver_sql(statement)


def is_current(revision: str) -> bool:
    """Return whether nothing is to be migrated."""
    return revision == migrations.HEAD


def has_slots(revision: str) -> bool:
    """Return whether a store of this revision can say that brokers share it."""
    return revision >= migrations.FIRST_SHARED


def is_additive(revision: str) -> bool:
    """Return whether brokers of `revision` can go on while the tables are brought up to date."""
    later = migrations.REVISIONS[migrations.REVISIONS.index(revision) + 1 :]
    return migrations.ADDITIVE.issuperset(later)


def migrate(connection: Connection) -> None:
    """Bring the tables up to date, after `lock`."""
    migrations.upgrade(connection)
    connection.execute(
        text(
            "insert into meta (key, value) values (:key, :value) "
            "on conflict (key) do update set value = excluded.value"
        ),
        {"key": migrations.OLDEST_KEY, "value": migrations.oldest()},
    )
