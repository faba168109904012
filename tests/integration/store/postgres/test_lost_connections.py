"""A connection that is lost in the middle of anything changes nothing about what is committed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Connection as CoreConnection

from tests.cluster import Cluster, rows
from tests.integration.store.postgres_world import (
    commit,
    cut,
    end_sessions,
    epoch_of,
    flush,
    grow_old,
    ids_of,
    in_journal,
    insert,
    kill,
    locked_writer,
    opened,
    settle,
    wait_until_waiting,
)
from tests.support import eventually
from tests.unit.store.samples import row, settled
from understudy_store.changes import Changes
from understudy_store.engines.base import Opening
from understudy_store.engines.postgres import connections
from understudy_store.engines.postgres.engine import PostgresEngine
from understudy_store.engines.postgres.opening import Opener
from understudy_store.engines.postgres.writer import Writer
from understudy_store.errors import StoreError

pytestmark = pytest.mark.usefixtures("way")


@pytest.fixture
def own(postgres: Cluster) -> Iterator[Cluster]:
    """The server, which the test may stop."""
    yield postgres
    postgres.start()


def backend_of(engine: PostgresEngine) -> int:
    """The server's process that commits."""
    connection = engine._log._link._connection
    assert connection is not None
    return connection.info.backend_pid


def test_every_session_is_ended_between_commits(
    postgres: Cluster, url: str, engine: PostgresEngine
) -> None:
    insert(engine, "a")
    assert end_sessions(postgres, engine) > 0
    insert(engine, "b")
    assert end_sessions(postgres, engine) > 0
    assert ids_of(engine) == ["a", "b"]
    assert end_sessions(postgres, engine) > 0
    assert [each.promise.id for each in engine.find(["b"])] == ["b"]
    settle(engine, 7, "b")
    assert in_journal(url) == [(epoch_of(engine), 3)]


def test_a_commit_that_was_done_is_not_done_again(
    postgres: Cluster, url: str, engine: PostgresEngine
) -> None:
    """Its session is at work when the line is cut, and goes on by itself."""
    insert(engine, "a")
    with locked_writer(url, engine) as holder:
        thread = threading.Thread(target=lambda: insert(engine, "b"))
        thread.start()
        wait_until_waiting(postgres, engine._connector.application_name)
        cut(engine)
        # The new session waits behind the old one.
        with postgres.admin() as admin:
            query = (
                "select count(*) from pg_stat_activity where application_name = %s "
                "and cardinality(pg_blocking_pids(pid)) > 0"
            )
            name = engine._connector.application_name
            eventually(lambda: admin.execute(query, (name,)).fetchone() == (2,))
        holder.commit()
        thread.join(20)
    assert in_journal(url) == [(epoch_of(engine), 1), (epoch_of(engine), 2)]
    insert(engine, "c")
    assert ids_of(engine) == ["a", "b", "c"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may stop a process of another user")
def test_a_commit_that_comes_late_writes_nothing(url: str, engine: PostgresEngine) -> None:
    """Its record was sent again since, and is in the tables; it must not come a second time."""
    insert(engine, "a")
    late = backend_of(engine)
    os.kill(late, signal.SIGSTOP)
    try:
        thread = threading.Thread(target=lambda: insert(engine, "b"))
        thread.start()
        eventually(lambda: _sent(engine))
        cut(engine)
        thread.join(20)
        flush(engine)
        assert in_journal(url) == []
    finally:
        os.kill(late, signal.SIGCONT)
    query = "select count(*) from pg_stat_activity where pid = %s"
    eventually(lambda: rows(url, query, late) == [(0,)])
    assert in_journal(url) == []
    kill(engine, url)
    again = opened(url)
    assert ids_of(again) == ["a", "b"]
    again.close()


def _sent(engine: PostgresEngine) -> bool:
    """Whether the connection that commits waits for an answer."""
    connection = engine._log._link._connection
    assert connection is not None
    return connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE


def test_a_followers_write_that_was_done_is_not_done_again(
    postgres: Cluster, url: str, engine: PostgresEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(engine, "a")
    write = engine._table._write
    attempts: list[int] = []

    def twice(connection: object, *args: object) -> None:
        attempts.append(1)
        write(connection, *args)  # type: ignore[arg-type]  # as it is called
        if len(attempts) == 1:
            raise psycopg.OperationalError("the answer was lost")

    monkeypatch.setattr(engine._table, "_write", twice)
    monkeypatch.setattr(connections.Link, "_is_lost", lambda *_: True)
    flush(engine)
    assert len(attempts) == 2
    assert rows(url, "select id from promise") == [("a",)]
    assert rows(url, "select applied from progress") == [(1,)]


def test_sessions_are_ended_in_the_middle_of_commits(postgres: Cluster, url: str) -> None:
    """Each commit settles the row of the one before, so each must be there once, in order."""
    engine = opened(url)
    draw = random.Random(7)
    ended: list[int] = []
    count = 120
    timers: list[threading.Timer] = []
    for n in range(count):
        if n % 8 == 4:
            # At any moment of the next commits, and of what the follower does.
            delay_s = draw.uniform(0.0, 0.02)
            trouble = threading.Timer(delay_s, lambda: ended.append(end_sessions(postgres, engine)))
            trouble.start()
            timers.append(trouble)
        before = [settled(row(f"p.{n - 1}"), n)] if n else []
        commit(engine, Changes(n + 1, inserted=[row(f"p.{n}")], updated=before))
        if n % 10 == 0:
            flush(engine)
        assert [each.promise.id for each in engine.find([f"p.{n}"])] == [f"p.{n}"]
    for trouble in timers:
        trouble.join()
    kill(engine, url)
    assert sum(ended) > 3
    again = opened(url)
    found = {each.promise.id: each.promise.settled_at for each in again.find(_numbered(count))}
    assert found == {f"p.{n}": n + 1 if n < count - 1 else None for n in range(count)}
    again.close()


def _numbered(count: int) -> list[str]:
    return [f"p.{n}" for n in range(count)]


def test_a_connection_that_is_lost_while_the_store_is_opened(
    postgres: Cluster, url: str, idle: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The opening begins anew, and does not wait for its own first attempt."""
    fence = Opener._fence
    attempts: list[int] = []

    def lost_once(self: Opener, core: CoreConnection, writer: Writer) -> bool:
        attempts.append(writer.id)
        if len(attempts) == 1:
            with postgres.admin() as admin:
                query = (
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where application_name = %s"
                )
                admin.execute(query, (self._connector.application_name,))
        return fence(self, core, writer)

    monkeypatch.setattr(Opener, "_fence", lost_once)
    told: list[str] = []
    engine = opened(url, Opening(tell=told.append))
    first, second = attempts
    assert second > first
    assert not any("waiting" in text for text in told)
    assert rows(url, "select id from writer where not fenced") == [(second,)]
    engine.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
def test_the_server_is_started_again(own: Cluster, how: signal.Signals, idle: None) -> None:
    """A crash of the server loses nothing either: it had written all that it acknowledged."""
    url = own.new_schema()
    told: list[str] = []
    engine = opened(url, Opening(tell=told.append))
    insert(engine, "a")
    own.stop(how)
    threads = [
        threading.Thread(target=lambda: insert(engine, "b")),
        threading.Thread(target=lambda: engine.find(["x", "y"])),
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: any("has been away for" in text for text in told))
    own.start()
    for thread in threads:
        thread.join(30)
    eventually(lambda: any("is back, after" in text for text in told))
    assert ids_of(engine) == ["a", "b"]
    engine.close()
    again = opened(url)
    assert ids_of(again) == ["a", "b"]
    again.close()


def test_a_database_that_stays_away_stops_the_store(
    own: Cluster, monkeypatch: pytest.MonkeyPatch, idle: None
) -> None:
    """What it has done of the last commit is unknown, so nothing follows it."""
    monkeypatch.setattr(connections, "PATIENCE_S", 0.5)
    url = own.new_schema()
    engine = opened(url)
    insert(engine, "a")
    own.stop()
    with pytest.raises(StoreError, match=r"has been away for \d+ s: connection"):
        insert(engine, "b")
    with pytest.raises(StoreError, match="has been away"):
        insert(engine, "c")
    began = time.monotonic()
    monkeypatch.setattr(connections, "PATIENCE_AT_CLOSE_S", 0.2)
    engine.close()
    assert time.monotonic() - began < 10
    own.start()
    grow_old(url)
    again = opened(url)
    assert ids_of(again) == ["a"]
    again.close()


def test_a_wait_for_the_database_ends_when_the_store_is_closed(
    own: Cluster, monkeypatch: pytest.MonkeyPatch, idle: None
) -> None:
    monkeypatch.setattr(connections, "PATIENCE_AT_CLOSE_S", 0.1)
    told: list[str] = []
    engine = opened(own.new_schema(), Opening(tell=told.append))
    own.stop()
    failed: list[StoreError] = []

    def commit_in_vain() -> None:
        try:
            insert(engine, "a")
        except StoreError as error:
            failed.append(error)

    thread = threading.Thread(target=commit_in_vain)
    thread.start()
    eventually(lambda: any("has been away for" in text for text in told))
    engine.stop_waiting()
    thread.join(10)
    assert failed
    engine.close()


def test_a_conflict_of_two_transactions_is_tried_again(
    engine: PostgresEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def act(connection: connections.Connection) -> str:
        calls.append(1)
        if len(calls) == 1:
            text = "do $$ begin raise exception 'again' using errcode = '40001'; end $$"
            connection.execute(text)
        return "done"

    assert engine._log._link.run(act) == "done"
    assert len(calls) == 2


def test_what_the_server_refuses_stops_the_store_in_its_words(
    engine: PostgresEngine, url: str
) -> None:
    schema = url.partition("?schema=")[2]
    rows(url, f"alter table {schema}.journal add check (number < 2); select 1")
    insert(engine, "a")
    with pytest.raises(StoreError, match=r"violates check constraint .* \(23514\)"):
        insert(engine, "b")
    rows(url, f"alter table {schema}.journal drop constraint journal_number_check; select 1")
    with pytest.raises(StoreError, match="violates check constraint"):
        insert(engine, "c")


def test_the_server_notices_soon_that_a_machine_is_gone(engine: PostgresEngine) -> None:
    """Otherwise the locks of a transaction would stay for two hours, by the server's settings."""
    insert(engine, "a")
    names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count")
    shown = [
        engine._log._link.run(lambda c, name=name: c.execute(f"show {name}").fetchone())  # type: ignore[misc]
        for name in names
    ]
    assert shown == [("5",), ("3",), ("3",)]
