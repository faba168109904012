"""Servers and schemas on which a store would not be safe are refused by name, with what to do."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import psycopg
import pytest

from tests.cluster import ROLE, Cluster, rows
from tests.integration.store.postgres_world import ids_of, insert, opened
from tests.integration.store.postgres_world import opened as opened_alone
from tests.support import eventually
from understudy_store.engines.base import OPENING, Opening, Share
from understudy_store.engines.postgres import checks, connections
from understudy_store.engines.postgres.address import parse
from understudy_store.engines.postgres.engine import PostgresEngine
from understudy_store.errors import (
    OpeningStoppedError,
    StoreAccessError,
    StoreAddressError,
    StoreError,
    StoreFormatError,
    StoreVersionError,
)
from understudy_store.store import open_store


@pytest.fixture
def role(postgres: Cluster) -> Iterator[str]:
    """A role of the test's own, whose settings are its defaults."""
    name = "somebody"
    with postgres.admin() as admin:
        admin.execute(f"create role {name} login superuser password 'p@ss/word'".encode())
        yield name
        admin.execute(f"drop owned by {name} cascade".encode())
        admin.execute(f"drop role {name}".encode())


@pytest.fixture(params=[None, Share("a", "tcp://a:1")], ids=["alone", "shared"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a store opened by a broker that wants it for itself, and by one of several."""

    def opened_so(url: str, opening: Opening = OPENING) -> PostgresEngine:
        return opened_alone(url, opening._replace(share=request.param))

    monkeypatch.setitem(globals(), "opened", opened_so)


def as_role(postgres: Cluster, url: str, role: str) -> str:
    return url.replace(f"{ROLE}@", f"{role}@")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("synchronous_commit = off", "synchronous_commit is off .* ALTER ROLE"),
        ("synchronous_commit = local", "synchronous_commit is local"),
        ("default_transaction_read_only = on", "default_transaction_read_only is on"),
    ],
)
@pytest.mark.usefixtures("either")
def test_settings_that_lose_commits(
    setting: str, said: str, postgres: Cluster, url: str, role: str
) -> None:
    with postgres.admin() as admin:
        admin.execute(f"alter role {role} set {setting}".encode())
    with pytest.raises(StoreError, match=said):
        opened(as_role(postgres, url, role))


@pytest.mark.usefixtures("either")
def test_an_isolation_that_stays_although_it_was_set(
    postgres: Cluster, url: str, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_SETTINGS", "select 1")
    with postgres.admin() as admin:
        admin.execute(
            f"alter role {role} set default_transaction_isolation = 'repeatable read'".encode()
        )
    with pytest.raises(StoreError, match="are repeatable read although the store has set them"):
        opened(as_role(postgres, url, role))
    monkeypatch.undo()
    opened(as_role(postgres, url, role)).close()


@pytest.mark.usefixtures("either")
def test_a_server_that_does_not_flush(postgres: Cluster, url: str) -> None:
    postgres.configure("fsync = off")
    postgres.reload()
    try:
        with pytest.raises(StoreError, match="fsync is off"):
            opened(url)
    finally:
        postgres.configure("fsync = on")
        postgres.reload()


@pytest.mark.usefixtures("either")
def test_a_server_that_is_too_old(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "VERSION_MIN", 990_000)
    with pytest.raises(StoreError, match=r"is PostgreSQL \d+; a store needs 99 or newer"):
        opened(url)


@pytest.mark.usefixtures("either")
def test_a_database_that_cannot_hold_every_text(postgres: Cluster) -> None:
    name = postgres.new_database("encoding 'LATIN1' template template0 locale 'C'")
    with pytest.raises(StoreError, match="has the encoding LATIN1"):
        opened(postgres.url_of(name))


def test_a_missing_standby_is_told(url: str) -> None:
    told: list[str] = []
    opened(url, Opening(tell=told.append)).close()
    assert any("has no synchronous standby" in text for text in told)


@pytest.mark.usefixtures("either")
def test_a_wrong_password(postgres: Cluster, url: str, role: str) -> None:
    """The text has neither the wrong one nor anything else of it."""
    hba = postgres.folder / "data" / "pg_hba.conf"
    before = hba.read_text()
    hba.write_text(f"host all {role} 127.0.0.1/32 scram-sha-256\n{before}")
    postgres.reload()
    try:
        wrong = url.replace(f"{ROLE}@", f"{role}:sesame%2Fopen@")
        with pytest.raises(StoreAccessError, match="password authentication failed") as caught:
            opened(wrong)
        assert "sesame" not in str(caught.value)
        assert "Check user, password" in str(caught.value)
        right = url.replace(f"{ROLE}@", f"{role}:p%40ss%2Fword@")
        engine = opened(right)
        assert "ss%2Fword" not in engine.description
        assert "ss/word" not in engine.description
        engine.close()
    finally:
        hba.write_text(before)
        postgres.reload()


@pytest.mark.usefixtures("either")
def test_a_database_that_does_not_exist(postgres: Cluster) -> None:
    with pytest.raises(StoreAccessError, match='database "nowhere" does not exist'):
        opened(postgres.url_of("nowhere"))


@pytest.mark.usefixtures("either")
def test_a_role_that_may_not_make_a_schema(postgres: Cluster, url: str) -> None:
    with postgres.admin() as admin:
        admin.execute("drop role if exists guest; create role guest login")
    with pytest.raises(StoreError, match=r"permission denied .* the right to do this"):
        opened(as_role(postgres, url, "guest"))


@pytest.mark.usefixtures("either")
def test_a_schema_with_tables_of_others(postgres: Cluster, url: str) -> None:
    schema = url.partition("?schema=")[2]
    with postgres.admin() as admin:
        admin.execute(f"create schema {schema}; create table {schema}.writer (x int)".encode())
    with pytest.raises(StoreFormatError, match=r"is no store of understudy \(writer\)"):
        opened(url)
    assert rows(url, "select count(*) from writer") == [(0,)]


@pytest.mark.usefixtures("either")
def test_an_empty_schema_that_was_made_for_the_store(postgres: Cluster, url: str) -> None:
    """Then the role needs no right to make one."""
    schema = url.partition("?schema=")[2]
    role = f"tenant_{schema}"
    with postgres.admin() as admin:
        admin.execute(f"create role {role} login; create schema {schema} authorization {role}")
    engine = opened(as_role(postgres, url, role))
    insert(engine, "a")
    assert ids_of(engine) == ["a"]
    engine.close()


@pytest.mark.usefixtures("either")
def test_a_store_of_a_newer_understudy(url: str) -> None:
    opened(url).close()
    rows(url, "update alembic_version set version_num = '9999' returning 1")
    rows(url, "update meta set value = '9998' where key = 'oldest' returning 1")
    with pytest.raises(StoreVersionError, match="has schema 9999"):
        opened(url)


def test_two_stores_in_one_database_do_not_meet(postgres: Cluster) -> None:
    one, other = opened(postgres.new_schema()), opened(postgres.new_schema())
    insert(one, "a")
    insert(other, "b")
    assert (ids_of(one), ids_of(other)) == (["a"], ["b"])
    one.close()
    other.close()


def test_a_schema_whose_name_is_a_word_of_sql(postgres: Cluster) -> None:
    engine = opened(f"{postgres.url_of('postgres')}?schema=select")
    insert(engine, "a")
    assert ids_of(engine) == ["a"]
    engine.close()


# ---- a database that is down --------------------------------------------------------------------


@pytest.mark.usefixtures("either")
def test_a_database_that_is_down_is_waited_for(postgres: Cluster, url: str) -> None:
    postgres.stop()
    try:
        told: list[str] = []
        opening = Opening(tell=told.append)
        made: list[PostgresEngine] = []
        thread = threading.Thread(target=lambda: made.append(opened(url, opening)))
        thread.start()
        eventually(lambda: any("waiting for the database" in text for text in told))
    finally:
        postgres.start()
    thread.join(30)
    assert ids_of(made[0]) == []
    made[0].close()


@pytest.mark.usefixtures("either")
def test_the_wait_for_a_database_ends_when_it_is_unwanted() -> None:
    unwanted = threading.Event()
    opening = Opening(tell=lambda text: unwanted.set(), is_unwanted=unwanted.is_set)
    with pytest.raises(OpeningStoppedError, match="could not be reached"):
        opened("postgresql://127.0.0.1:1/x", opening)


# ---- URLs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:se/same@host/db",
        "postgresql://u:12/se@same/db",
        "postgresql://u:se%zzsame@host/db",
        "postgresql://u:se same@host/db",
        "postgresql://u:12?same/1@host/db",
        "postgresql://u:12?same/1=2@host/db",
    ],
)
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(StoreAddressError, match="write '/', '@'") as caught:
        open_store(url)
    assert "same" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("nosuch=sesame", "has an unknown parameter, 'nosuch'. After"),
        ("sslmode=require&conect_timeout=9", "'conect_timeout'; similar: 'connect_timeout'"),
        ("shema=shop", "'shema'; similar: 'schema'"),
        ("schema=shop&sslmode", "the parameter 'sslmode' .* has no value: write sslmode=VALUE"),
    ],
)
def test_a_parameter_that_is_none_is_named(query: str, said: str) -> None:
    with pytest.raises(StoreAddressError, match=said) as caught:
        open_store(f"postgresql://u:sesame@host/db?{query}")
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("schema", ["", "pg_x", "With Space", "a" * 33, "x;drop", "1a"])
def test_a_schema_is_a_plain_name(schema: str) -> None:
    with pytest.raises(StoreAddressError, match="cannot be the schema"):
        parse(f"postgresql://h/d?schema={schema}")


def test_the_name_of_an_address() -> None:
    assert parse("postgres://u:p@h1:1,h2:2/d?schema=x&connect_timeout=9").name == (
        "postgresql://u@h1:1,h2:2/d?schema=x"
    )
    assert parse("postgresql:///d").name == "postgresql:///d"
    given = psycopg.conninfo.conninfo_to_dict(parse("postgresql://h/d?connect_timeout=9").conninfo)
    assert given["connect_timeout"] == "9"
    assert given["target_session_attrs"] == "read-write"


def test_a_scheme_of_nobody_does_not_show_the_password() -> None:
    with pytest.raises(StoreAddressError, match="names no store") as caught:
        open_store("mysql://u:sesame@h/d")
    assert "sesame" not in str(caught.value)


def test_without_the_driver_it_is_said_how_to_get_it() -> None:
    script = (
        "import sys\n"
        "sys.modules['psycopg'] = None\n"
        "from understudy_store.errors import StoreAddressError\n"
        "from understudy_store.store import open_store\n"
        "try:\n"
        "    open_store('postgresql://h/d')\n"
        "except StoreAddressError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, timeout=60
    )
    assert "pip install 'psycopg[binary]>=3.3'" in done.stdout, done.stderr
