"""A standby takes the place of the primary: with every commit, or with some of them gone."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator

import psycopg
import pytest

from tests.cluster import Cluster, find_programs
from tests.integration.store.postgres_world import grow_old, ids_of, insert, opened
from tests.support import eventually
from understudy_store.engines.base import Opening
from understudy_store.engines.postgres.advice import READ_ONLY
from understudy_store.engines.postgres.engine import PostgresEngine
from understudy_store.errors import StoreAccessError, StoreError, StoreRolledBackError

pytestmark = pytest.mark.usefixtures("idle")

pytestmark = pytest.mark.usefixtures("way")


@pytest.fixture
def pair(postgres: Cluster) -> Iterator[tuple[Cluster, Cluster]]:
    """The server as a primary, which the test may stop, and a standby of it."""
    programs = find_programs()
    assert programs is not None
    standby = Cluster(programs)
    try:
        standby.copy_of(postgres, "second")
        standby.start()
        yield postgres, standby
    finally:
        standby.remove()
        postgres.configure("synchronous_standby_names = ''")
        postgres.start()
        postgres.reload()


def url_of(*clusters: Cluster) -> str:
    """The URL of a store that is on any of these servers."""
    first, *others = clusters
    _, _, schema = first.new_schema().partition("?")
    return f"{first.url_of('postgres', *others)}?{schema}"


def has(standby: Cluster, url: str, commits: int) -> bool:
    """Whether a standby has so many commits in the journal."""
    schema = url.partition("?schema=")[2]
    with standby.admin() as connection:
        try:
            query = f"select count(*) from {schema}.journal".encode()
            return connection.execute(query).fetchone() == (commits,)
        except psycopg.errors.UndefinedTable:
            return False


def test_a_synchronous_standby_takes_over_without_a_loss(
    pair: tuple[Cluster, Cluster],
) -> None:
    primary, standby = pair
    with pytest.raises(StoreAccessError, match=r"is a standby \(in recovery\)"):
        opened(standby.url_of("postgres"))
    primary.configure("synchronous_standby_names = 'second'")
    primary.reload()
    told: list[str] = []
    url = url_of(primary, standby)
    engine = opened(url, Opening(tell=told.append))
    assert not any("no synchronous standby" in text for text in told)
    for n in range(20):
        insert(engine, f"a.{n}")
    primary.stop(signal.SIGQUIT)
    thread = threading.Thread(target=lambda: insert(engine, "b"))
    thread.start()
    standby.promote()
    thread.join(30)
    assert ids_of(engine) == sorted([*(f"a.{n}" for n in range(20)), "b"])
    engine.close()
    again = opened(url)
    assert len(ids_of(again)) == 21
    again.close()


def test_of_several_servers_the_one_that_takes_writes_is_waited_for(
    pair: tuple[Cluster, Cluster],
) -> None:
    """A broker may be started after the primary has failed, and before the standby is promoted."""
    primary, standby = pair
    url = url_of(primary, standby)
    opened(url).close()
    eventually(lambda: has(standby, url, 0))
    primary.stop(signal.SIGQUIT)
    told: list[str] = []
    made: list[PostgresEngine] = []
    thread = threading.Thread(target=lambda: made.append(opened(url, Opening(tell=told.append))))
    thread.start()
    eventually(lambda: any("waiting for the database" in text for text in told))
    assert any(READ_ONLY in text for text in told)
    standby.promote()
    thread.join(30)
    insert(made[0], "a")
    made[0].close()


def test_a_standby_that_lacks_commits_is_noticed(pair: tuple[Cluster, Cluster]) -> None:
    """It has none of the last three, because it had heard nothing for a while."""
    primary, standby = pair
    url = url_of(primary, standby)
    engine = opened(url)
    insert(engine, "a")
    eventually(lambda: has(standby, url, 1))
    standby.stop(signal.SIGQUIT)
    for id_ in ("b", "c", "d"):
        insert(engine, id_)
    primary.stop(signal.SIGQUIT)
    standby.start()
    standby.promote()
    with pytest.raises(StoreRolledBackError, match="has lost its last 3 commits") as caught:
        insert(engine, "e")
    assert re.search("another server has taken the place", str(caught.value))
    with pytest.raises(StoreError):
        engine.find(["x", "y"])
    engine.close()
    # Somebody who accepts that starts a broker again.
    grow_old(f"{standby.url_of('postgres')}?{url.partition('?')[2]}")
    again = opened(url)
    assert ids_of(again) == ["a"]
    again.close()


def test_a_standby_that_does_not_know_this_broker_is_noticed(
    pair: tuple[Cluster, Cluster],
) -> None:
    """Also if a broker was started there since, and was given the same number."""
    primary, standby = pair
    url = url_of(primary, standby)
    opened(url).close()
    with primary.admin() as connection:
        [now] = connection.execute("select pg_current_wal_lsn()").fetchone() or (None,)
    with standby.admin() as connection:
        query = "select pg_last_wal_replay_lsn() >= %s"
        eventually(lambda: connection.execute(query, (now,)).fetchone() == (True,))
    standby.stop(signal.SIGQUIT)
    engine = opened(url)
    insert(engine, "a")
    insert(engine, "b")
    primary.stop(signal.SIGQUIT)
    standby.start()
    standby.promote()
    schema = url.partition("?schema=")[2]
    there = f"{standby.url_of('postgres')}?schema={schema}"
    with standby.admin() as connection:
        connection.execute(
            f"select setval(pg_get_serial_sequence('{schema}.writer', 'id'), "
            f"{engine._writer.id - 1})".encode()
        )
    other = opened(there)
    assert other._writer.id == engine._writer.id
    for id_ in ("c", "d", "e"):
        insert(other, id_)
    with pytest.raises(StoreRolledBackError, match="has lost its last 2 commits"):
        insert(engine, "f")
    engine.close()
    assert ids_of(other) == ["c", "d", "e"]
    other.close()
