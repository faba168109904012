"""Stores over PostgreSQL: what is asked of them, and what others do to their database."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final

import psycopg

from tests.attending import commit_attended
from tests.cluster import Cluster, rows
from tests.support import eventually
from tests.unit.store.samples import row, settled
from understudy_store.changes import Changes
from understudy_store.commands import PromiseSearch
from understudy_store.engines.base import OPENING, Opening, Read
from understudy_store.engines.postgres.engine import PostgresEngine
from understudy_store.engines.postgres.shared_engine import SharedPostgresEngine
from understudy_store.slots import slot_of


class Ways:
    """How commits are made."""

    attended = False


ways: Final = Ways()
SEARCH: Final = [Read(PromiseSearch(limit=1000), 1)]


def opened(url: str, opening: Opening = OPENING) -> PostgresEngine:
    """Open a store and load it, as a broker does."""
    engine = PostgresEngine(url, opening)
    engine.load()
    return engine


def epoch_of(engine: PostgresEngine) -> int:
    return engine._writer.id


def commit(engine: PostgresEngine, changes: Changes) -> None:
    """Commit, one way or the other; see the fixture `way`."""
    if ways.attended:
        commit_attended(engine, changes, epoch_of(engine))
    else:
        assert engine.commit(changes, [], epoch_of(engine)) == []


def insert(engine: PostgresEngine, *ids: str) -> None:
    commit(engine, Changes(1, inserted=[row(id_) for id_ in ids]))


def settle(engine: PostgresEngine, at: int, *ids: str) -> None:
    commit(engine, Changes(at, updated=[settled(row(id_), at) for id_ in ids]))


def flush(engine: PostgresEngine) -> None:
    """Have the commits so far written to the tables."""
    engine.commit(Changes(0), SEARCH, epoch_of(engine))


def ids_of(engine: PostgresEngine) -> list[str]:
    [found] = engine.commit(Changes(0), SEARCH, epoch_of(engine))
    assert found.promises is not None
    return [promise.id for promise in found.promises]


def in_journal(url: str) -> list[tuple[int, int]]:
    """The commits that are in the journal, by writer and number."""
    return [(w, n) for w, n in rows(url, "select writer, number from journal order by 1, 2")]


def grow_old(url: str) -> None:
    """Let the time of a lease pass for the pulses."""
    rows(url, "update pulse set seen_at = seen_at - interval '1 day' returning writer")


def empty(url: str) -> None:
    """Take everything out of a store, which is quicker than to make another."""
    tables = (
        "promise, attempt, callback, listener, unblock, schedule, writer, pulse, progress, journal"
    )
    rows(url, f"truncate {tables}; select 1")
    rows(url, "update meta set value = '0' where key = 'now' returning key")


def kill(engine: PostgresEngine, url: str) -> None:
    """Leave all as a process leaves it that is killed; then its lease runs out."""
    stop(engine)
    grow_old(url)


def stop(engine: PostgresEngine) -> None:
    """End the threads and connections of `engine`, and nothing else."""
    journaled = engine.journaled
    with journaled._append_lock, journaled._table_lock:
        engine._closed = journaled._closed = True
        journaled._has_commits.set()
        journaled._flush_now.set()
    journaled._thread.join()
    engine._pulse.close()
    engine._table.close()
    engine._log.close()


@contextmanager
def locked_writer(url: str, engine: PostgresEngine) -> Iterator[psycopg.Connection[Any]]:
    """Keep every commit of `engine` waiting, as a takeover does while it is under way."""
    base, _, schema = url.partition("?schema=")
    with psycopg.connect(base) as connection:
        connection.execute(
            f"select 1 from {schema or 'understudy'}.writer where id = %s for update".encode(),
            (epoch_of(engine),),
        )
        yield connection


def sessions(cluster: Cluster, engine: PostgresEngine) -> list[int]:
    """The server's processes that serve `engine`."""
    with cluster.admin() as connection:
        query = "select pid from pg_stat_activity where application_name = %s"
        found = connection.execute(query, (engine._connector.application_name,))
        return [pid for (pid,) in found]


def cut(engine: PostgresEngine) -> None:
    """Hang up the connection that commits, as a firewall does; the server does not know yet."""
    connection = engine._log._link._connection
    assert connection is not None
    with socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)


def end_sessions(cluster: Cluster, engine: PostgresEngine) -> int:
    """End the connections of `engine` from the server's side; return how many there were."""
    with cluster.admin() as connection:
        query = (
            "select count(pg_terminate_backend(pid)) from pg_stat_activity "
            "where application_name = %s"
        )
        [count] = connection.execute(query, (engine._connector.application_name,)).fetchone() or (
            0,
        )
        return int(count)


def wait_until_waiting(cluster: Cluster, application_name: str) -> None:
    """Return once a session of this name waits for a lock of another."""
    with cluster.admin() as connection:
        query = (
            "select count(*) from pg_stat_activity "
            "where application_name = %s and cardinality(pg_blocking_pids(pid)) > 0"
        )
        eventually(lambda: connection.execute(query, (application_name,)).fetchone() != (0,))


# ---- a store that is shared ---------------------------------------------------------------------


def kill_shared(engine: SharedPostgresEngine, url: str) -> None:
    """Leave all as a process leaves it that is killed; its lease has run out then."""
    stop(engine.engine)
    age(url, engine.writer)


def age(url: str, *writers: int) -> None:
    """Let the time of a lease pass for the pulses of some writers."""
    query = (
        "update pulse set seen_at = seen_at - interval '1 day' where writer = any(%s) returning 1"
    )
    rows(url, query, list(writers))


def owners(url: str) -> list[int | None]:
    """The owner of each slot, as the database has it."""
    return [writer for (writer,) in rows(url, "select writer from slot order by slot")]


def id_in(slot: int, beginning: str = "x") -> str:
    """An id that is in a slot."""
    return next(id_ for n in count() if slot_of(id_ := f"{beginning}{n}") == slot)


def slot_at(engine: SharedPostgresEngine, place: int) -> int:
    """One of the slots that the engine has."""
    return engine.holdings().of(engine.writer)[place]


def split(giver: SharedPostgresEngine, receiver: SharedPostgresEngine) -> None:
    """Hand half of the slots over."""
    mine = giver.holdings().of(giver.writer)
    giver.hand_over(dict.fromkeys(mine[::2], receiver.writer))
    eventually(lambda: receiver.holdings() == giver.holdings())


def put(engine: SharedPostgresEngine, *ids: str, now: int = 1) -> None:
    """Commit new promises."""
    engine.commit(Changes(now, inserted=[row(id_) for id_ in ids]), [], engine.writer)


def judge(engine: SharedPostgresEngine) -> None:
    """Have the keeper judge from now on, though it has only just begun."""
    engine.engine.keeper._judges_from = 0.0  # type: ignore[union-attr]  # there is one
    engine.engine.keeper._wake.set()  # type: ignore[union-attr]
