"""A newer understudy beside brokers of an older one, and after them: stores that they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, text

from tests.cluster import rows
from tests.integration.store.postgres_world import (
    flush,
    id_in,
    in_journal,
    kill_shared,
    owners,
    put,
    slot_at,
    split,
)
from understudy_store.engines.postgres import opening as opening_module
from understudy_store.engines.postgres import schema
from understudy_store.engines.postgres.shared_engine import SharedPostgresEngine
from understudy_store.engines.sql import migrations
from understudy_store.errors import StoreLockedError, StoreVersionError

Join = Callable[..., SharedPostgresEngine]

#: a revision of the future
NEXT = "0099"


@contextmanager
def newer(*, is_additive: bool) -> Iterator[None]:
    """As if this were an understudy with one more revision, which adds a column."""

    def upgrade(connection: Connection) -> None:
        connection.execute(text("alter table promise add column colour text"))
        connection.execute(text(f"update {migrations.VERSION_TABLE} set version_num = '{NEXT}'"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "REVISIONS", (*migrations.REVISIONS, NEXT))
        patch.setattr(migrations, "HEAD", NEXT)
        if is_additive:
            patch.setattr(migrations, "ADDITIVE", migrations.ADDITIVE | {NEXT})
        patch.setattr(migrations, "upgrade", upgrade)
        yield


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A living broker is waited for only shortly."""
    monkeypatch.setattr(opening_module, "LIVE_S", 0.3)


def revision(url: str) -> object:
    return rows(url, "select version_num from alembic_version")[0][0]


def works(engine: SharedPostgresEngine, beginning: str) -> bool:
    """Whether a broker can commit, bring it to the tables, and find it."""
    id_ = id_in(slot_at(engine, 0), beginning)
    put(engine, id_)
    flush(engine.engine)
    return [each.promise.id for each in engine.find([id_])] == [id_]


def test_what_only_adds_is_done_beside_brokers_that_live(join: Join, url: str) -> None:
    a = join("a")
    with newer(is_additive=True):
        b = join("b")
        assert revision(url) == NEXT
        split(a, b)
        assert works(a, "x")
        assert works(b, "x")


def test_one_of_the_older_understudy_can_be_started_again_after_that(join: Join, url: str) -> None:
    """It was killed in the middle of an upgrade; or the newer one is no good, and is taken back."""
    with newer(is_additive=True):
        a = join("a")
    b = join("b")
    split(a, b)
    assert works(b, "x")
    a.close()
    assert revision(url) == NEXT, "nothing is undone"
    c = join("c")
    split(b, c)
    assert works(c, "y")


def test_what_changes_more_is_refused_while_brokers_live_that_do_not_know_it(
    join: Join, url: str
) -> None:
    a, _ = join("a"), join("b")
    told: list[str] = []
    with newer(is_additive=False):
        with pytest.raises(
            StoreLockedError,
            match=r"has schema \d+ and brokers .*'a' at tcp://a:1, the broker 'b' at tcp://b:1\. "
            r"This understudy brings it to schema 0099, .* stop all of them",
        ):
            join("c", told.append)
        assert any("waiting for the broker" in text for text in told), "they may be about to end"
    assert revision(url) == migrations.HEAD
    assert works(a, "x")


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_what_changes_more_is_done_once_they_are_gone(how: str, join: Join, url: str) -> None:
    """Whatever their names: nobody of the older understudy is there to take over from them."""
    a, b = join("a"), join("b")
    split(a, b)
    id_ = id_in(slot_at(b, 0), "last")
    put(b, id_)
    for engine in a, b:
        if how == "killed":
            kill_shared(engine, url)
        else:
            engine.close()
    with newer(is_additive=False):
        c, d = join("c"), join("d")
        assert revision(url) == NEXT
        assert in_journal(url) == []
        assert {*owners(url)} == {c.writer}
        assert [each.promise.id for each in c.find([id_])] == [id_]
        assert works(c, "x")
        split(c, d)
    with pytest.raises(StoreVersionError, match=r"has schema 0099; .* upgrade understudy"):
        join("a")


def test_the_oldest_revision_that_can_work_with_a_store_is_in_it(
    url: str, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "select value from meta where key = 'oldest'"
    join("a")
    assert rows(url, query) == [(migrations.oldest(),)]
    with newer(is_additive=True):
        join("b")
        assert rows(url, query) == [(migrations.oldest(),)]
    monkeypatch.setattr(migrations, "REVISIONS", ("1", "2", "3", "4"))
    for additive, expected in ((), "4"), (("4",), "3"), (("3", "4"), "2"), (("3",), "4"):
        monkeypatch.setattr(migrations, "ADDITIVE", frozenset(additive))
        assert migrations.oldest() == expected


def test_the_revision_that_made_slots_is_known() -> None:
    assert migrations.FIRST_SHARED in migrations.REVISIONS
    assert migrations.ADDITIVE.issubset(migrations.REVISIONS)
    assert migrations.REVISIONS[0] not in migrations.ADDITIVE
    assert not schema.has_slots("0007")
    assert schema.has_slots(migrations.HEAD)
