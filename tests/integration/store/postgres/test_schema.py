"""The tables, and how the server finds rows in them."""

from __future__ import annotations

import psycopg
import pytest

from tests.cluster import Cluster, rows
from tests.integration.store.postgres_world import (
    epoch_of,
    flush,
    grow_old,
    ids_of,
    insert,
    opened,
    settle,
)
from tests.support import eventually
from tests.unit.store.samples import settled, targeted
from understudy_store.changes import Changes
from understudy_store.commands import PromiseSearch, TaskPreload, TaskSearch
from understudy_store.engines.postgres.engine import PostgresEngine
from understudy_store.engines.sql import migrations
from understudy_store.engines.sql.queries import Queries
from understudy_store.engines.sql.tables import METADATA


def test_texts_are_in_the_order_of_bytes(url: str, engine: PostgresEngine) -> None:
    """Otherwise pages, and what is known of absent ids, follow the locale of the database."""
    query = (
        "select table_name, column_name from information_schema.columns "
        "where table_schema = current_schema() and data_type = 'text' "
        "and table_name = any(%s) and collation_name is distinct from 'C'"
    )
    assert rows(url, query, list(METADATA.tables)) == []


def test_every_revision_that_postgresql_may_have_is_known() -> None:
    assert migrations.FIRST_POSTGRESQL in migrations.REVISIONS


def test_what_a_journal_holds_is_not_compressed(url: str, engine: PostgresEngine) -> None:
    query = (
        "select attstorage from pg_attribute where attrelid = 'journal'::regclass "
        "and attname = 'data'"
    )
    assert rows(url, query) == [("e",)]


def test_a_store_that_grows_is_never_read_as_a_whole(url: str, engine: PostgresEngine) -> None:
    """Plans that were made while it was small are kept."""
    epoch = epoch_of(engine)
    before: list[str] = []
    for n in range(20):
        ids = [f"r{n}-{m}" for m in range(50)]
        engine.find(ids)
        engine.find([f"q{99 - n}"])
        changes = Changes(
            n + 1,
            inserted=[targeted(id_) for id_ in ids],
            updated=[settled(targeted(id_)) for id_ in before],
        )
        engine.commit(changes, [], epoch)
        flush(engine)
        before = ids
    engine.close()
    query = (
        "select idx_scan, seq_scan from pg_stat_all_tables "
        "where relid in ('promise'::regclass, 'journal'::regclass) order by relname desc"
    )
    # The statistics of a session are there once it has ended. Each index was made by one reading.
    eventually(lambda: rows(url, query)[0][0] > 1000)
    indexes = "select count(*) from pg_index where indrelid = 'promise'::regclass"
    [[made]] = rows(url, indexes)
    assert max(whole for _, whole in rows(url, query)) <= made


@pytest.mark.parametrize(
    ("what", "index"),
    [
        (None, "promise_live"),
        (TaskPreload("a", 1), "promise_graph"),
        (TaskPreload("a", 1), "promise_detached"),
        (PromiseSearch(state="pending"), "promise_live"),
        (PromiseSearch(origin="a"), "promise_graph"),
        (PromiseSearch(prefix="a"), "promise_pkey"),
        (TaskSearch(state="acquired"), "promise_live"),
    ],
)
def test_reads_use_an_index(
    what: TaskPreload | PromiseSearch | TaskSearch | None,
    index: str,
    postgres: Cluster,
    engine: PostgresEngine,
) -> None:
    """Where there is a choice, it is that of the server; so all others are taken from it."""
    text, values = _compiled(engine._table._queries, what)
    schema = engine._connector.address.schema
    with psycopg.connect(postgres.url_of("postgres")) as connection:
        connection.execute("set enable_seqscan = off; set enable_bitmapscan = off")
        others = {"promise_live", "promise_slot", "promise_graph", "promise_detached"} - {index}
        if what is None or index == "promise_live":
            for other in others:
                connection.execute(f"drop index {schema}.{other}".encode())
        plan = connection.execute(f"explain {text}".encode(), values or None).fetchall()
        connection.rollback()
    assert index in "\n".join(line for (line,) in plan)


def _compiled(
    queries: Queries, what: TaskPreload | PromiseSearch | TaskSearch | None
) -> tuple[str, dict[str, object]]:
    match what:
        case None:
            return queries.pending, {}
        case TaskPreload():
            return queries.compiled(queries.preload(what))
        case PromiseSearch():
            return queries.compiled(queries.search_promises(what, 1))
        case TaskSearch():
            return queries.compiled(queries.search_tasks(what, 1))


def test_a_dump_of_a_running_store_is_a_store(
    postgres: Cluster, engine: PostgresEngine, url: str
) -> None:
    """With its journal, as of one moment; it opens like that of a broker that was killed."""
    insert(engine, "a", "b")
    flush(engine)
    settle(engine, 7, "a")
    schema = engine._connector.address.schema
    file = postgres.folder / f"{schema}.dump"
    name = postgres.new_database()
    source = ("-h", "127.0.0.1", "-p", str(postgres.port), "-U", "understudy")
    postgres.run("pg_dump", *source, "-Fc", "-n", schema, "-f", file, "postgres")
    postgres.run("pg_restore", *source, "-d", name, file)
    copy = f"{postgres.url_of(name)}?schema={schema}"
    grow_old(copy)
    restored = opened(copy)
    assert ids_of(restored) == ["a", "b"]
    assert [each.promise.settled_at for each in restored.find(["a"])] == [7]
    assert epoch_of(restored) > epoch_of(engine)
    restored.close()
