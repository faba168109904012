"""What is said of a database that refuses something, or stays away, fits the cause."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster import ROLE, Cluster, rows
from tests.integration.store.postgres_world import end_sessions, opened
from tests.support import eventually
from tests.unit.store.samples import row
from understudy_store.changes import Changes
from understudy_store.engines.base import Opening
from understudy_store.engines.postgres import advice, connections
from understudy_store.engines.postgres.engine import PostgresEngine
from understudy_store.errors import StoreFailedError
from understudy_store.store import Store

#: what is said of files, and fits no database
OF_DISKS = "a full or failing disk, most often"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE_S", 0.3)


@pytest.fixture
def role(postgres: Cluster) -> Iterator[str]:
    """A role of the test's own, which the test may limit."""
    with postgres.admin() as admin:
        admin.execute("create role limited login")
        admin.execute("grant create on database postgres to limited")
        yield "limited"
        admin.execute("drop owned by limited cascade")
        admin.execute("drop role limited")


@contextmanager
def store_of(postgres: Cluster, role: str = ROLE) -> Iterator[tuple[Store, PostgresEngine, str]]:
    url = postgres.new_schema()
    engine = opened(url.replace(f"{ROLE}@", f"{role}@"))
    store = Store(engine)
    yield store, engine, url
    store.close()


def failure_of(store: Store) -> str:
    """Why a commit fails."""
    with pytest.raises(StoreFailedError) as caught:
        store.commit_here(Changes(1, inserted=[row("a")]), [])
    text = str(caught.value)
    assert OF_DISKS not in text
    assert "All that was acknowledged is safe" in text
    assert "start again" in text
    return text


def test_a_database_that_does_not_answer(postgres: Cluster) -> None:
    with store_of(postgres) as (store, _, _):
        postgres.stop()
        try:
            text = failure_of(store)
        finally:
            postgres.start()
    assert "has been away for 0 s: connection" in text
    assert advice.AWAY in text


def test_a_password_that_was_changed(postgres: Cluster, role: str) -> None:
    """The server answers, so it is not away."""
    hba = postgres.folder / "data" / "pg_hba.conf"
    before = hba.read_text()
    with store_of(postgres, role) as (store, engine, _):
        hba.write_text(f"host all {role} 127.0.0.1/32 scram-sha-256\n{before}")
        postgres.reload()
        try:
            end_sessions(postgres, engine)
            text = failure_of(store)
        finally:
            hba.write_text(before)
            postgres.reload()
    assert "has refused connections for 0 s" in text
    assert advice.REFUSED in text


def test_no_connection_left(postgres: Cluster, role: str) -> None:
    with store_of(postgres, role) as (store, engine, _), postgres.admin() as admin:
        admin.execute(f"alter role {role} connection limit 0".encode())
        end_sessions(postgres, engine)
        text = failure_of(store)
        admin.execute(f"alter role {role} connection limit -1".encode())
    assert "has had no connection left for 0 s" in text
    assert advice.FULL in text


def test_no_connection_left_at_the_start_is_waited_for(
    postgres: Cluster, url: str, role: str
) -> None:
    """It passes, unlike a wrong password."""
    told: list[str] = []
    made: list[PostgresEngine] = []
    with postgres.admin() as admin:
        admin.execute(f"alter role {role} connection limit 0".encode())
        limited = url.replace(f"{ROLE}@", f"{role}@")
        thread = threading.Thread(
            target=lambda: made.append(opened(limited, Opening(tell=told.append)))
        )
        thread.start()
        eventually(lambda: any("waiting for the database" in text for text in told))
        assert any(advice.FULL in text for text in told)
        admin.execute(f"alter role {role} connection limit -1".encode())
        thread.join(20)
    made[0].close()


def test_a_server_that_takes_no_writes_any_more(postgres: Cluster, role: str) -> None:
    """As services do it when the disk is full: for new sessions, and these find no other server."""
    with store_of(postgres, role) as (store, engine, _), postgres.admin() as admin:
        admin.execute(f"alter role {role} set default_transaction_read_only = on".encode())
        end_sessions(postgres, engine)
        text = failure_of(store)
        admin.execute(f"alter role {role} reset default_transaction_read_only".encode())
    assert "has taken no writes for 0 s" in text
    assert advice.READ_ONLY in text


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("53100", "Make room on the disk of the database"),
        ("42501", "Give the role of the store the right"),
        ("58030", "The disk of the database fails"),
        ("XX001", "The database is damaged"),
        ("23514", "Fix what the server names"),
    ],
)
def test_what_the_server_refuses(state: str, said: str, postgres: Cluster) -> None:
    with store_of(postgres) as (store, _, url):
        schema = url.partition("?schema=")[2]
        rows(
            url,
            f"create function {schema}.refuse() returns trigger language plpgsql as "
            f"$$ begin raise exception 'as the test wants' using errcode = '{state}'; end $$; "
            f"create trigger refuse before insert on {schema}.journal "
            f"execute function {schema}.refuse(); select 1",
        )
        text = failure_of(store)
        rows(url, f"drop trigger refuse on {schema}.journal; select 1")
    assert f"the database: as the test wants ({state}). {said}" in text
