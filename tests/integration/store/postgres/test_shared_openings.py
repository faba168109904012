"""A store is opened beside other brokers, or it is said why not."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection as CoreConnection

from tests.cluster import Cluster, rows
from tests.integration.store.postgres_world import (
    epoch_of,
    grow_old,
    id_in,
    in_journal,
    insert,
    kill,
    kill_shared,
    opened,
    owners,
    put,
    slot_at,
)
from tests.support import eventually
from understudy_store.engines.base import Opening, Share
from understudy_store.engines.postgres import opening as opening_module
from understudy_store.engines.postgres.engine import PostgresEngine
from understudy_store.engines.postgres.opening import Opener
from understudy_store.engines.postgres.shared_engine import SharedPostgresEngine
from understudy_store.engines.postgres.writer import Writer
from understudy_store.engines.sql import migrations
from understudy_store.errors import StoreAddressError, StoreLockedError, StoreSharedError
from understudy_store.slots import SLOTS
from understudy_store.store import open_store

Join = Callable[..., SharedPostgresEngine]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A living broker is waited for only shortly."""
    monkeypatch.setattr(opening_module, "LIVE_S", 0.3)


# ---- alone, or beside others --------------------------------------------------------------------


def test_a_broker_that_wants_a_shared_store_for_itself_is_told_of_the_others(
    join: Join, url: str
) -> None:
    join("a")
    with pytest.raises(
        StoreLockedError, match=r"is shared by brokers that are alive: 'a' at tcp://a:1\. Give this"
    ):
        opened(url)


def test_a_store_that_was_shared_is_not_opened_by_a_broker_without_a_name(
    join: Join, url: str
) -> None:
    a = join("a")
    a.close()
    with pytest.raises(StoreSharedError, match=r"has been shared by .* Give this broker a name"):
        opened(url)
    assert len(rows(url, "select 1 from writer")) == 1
    b = join("b")
    assert set(owners(url)) == {b.writer}


@pytest.mark.usefixtures("impatient")
def test_a_broker_that_has_the_store_for_itself_is_waited_for(
    url: str, engine: PostgresEngine, join: Join
) -> None:
    told: list[str] = []
    with pytest.raises(StoreLockedError, match=r"is open in process \d+ on .* which is alive"):
        join("a", told.append)
    assert any("waiting for process" in text for text in told)
    insert(engine, "a")
    engine.close()
    # It was not shared, because nobody has got it.
    opened(url).close()


def test_a_store_is_taken_over_from_a_broker_that_had_it_for_itself(
    url: str, engine: PostgresEngine, join: Join
) -> None:
    insert(engine, id_in(7))
    kill(engine, url)
    a = join("a")
    assert in_journal(url) == []
    assert [pending.id for pending in a.load_slots([7]).live] == [id_in(7)]
    assert rows(url, "select fenced from writer order by id") == [(True,), (False,)]
    with pytest.raises(StoreLockedError):
        opened(url)


def test_two_that_want_it_otherwise_do_not_both_get_it(url: str, idle: None) -> None:
    """Of one that wants the store for itself and one that shares it, the later one waits."""
    made: list[Any] = []

    def open_it(share: Share | None) -> None:
        opening = Opening(share=share)
        try:
            made.append(
                PostgresEngine(url, opening)
                if share is None
                else SharedPostgresEngine(url, opening)
            )
        except (StoreLockedError, StoreSharedError) as error:
            made.append(error)

    opened(url).close()
    for _ in range(5):
        made.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(opening_module, "LIVE_S", 0.3)
            threads = [
                threading.Thread(target=open_it, args=(share,))
                for share in (None, Share("a", "tcp://a:1"))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
        assert sum(isinstance(each, Exception) for each in made) >= 1
        for each in made:
            if not isinstance(each, Exception):
                each.close()
        rows(url, "delete from meta where key = 'shared' returning key")
        rows(url, "update slot set writer = null returning slot")


# ---- deployments --------------------------------------------------------------------------------


def of(deployment: str | None, name: str = "b") -> Opening:
    return Opening(share=Share(name, f"tcp://{name}:1", deployment))


def test_a_broker_of_another_deployment_is_refused(url: str) -> None:
    store = open_store(url, of("shop", "a"))
    for wanted in ("shop", None):
        other = open_store(url, of(wanted))
        assert other.share is not None
        assert other.share.identity == "shop", "or peers of the others would refuse it"
        other.close()
    with pytest.raises(
        StoreSharedError, match=r"is that of the deployment 'shop', .* one of 'test': check .*URL"
    ):
        open_store(url, of("test"))
    assert store.share is not None
    assert set(owners(url)) == {store.share.writer}
    store.close()
    with pytest.raises(StoreSharedError, match="is that of the deployment 'shop'"):
        open_store(url, of("test"))


def test_a_deployment_gets_its_name_while_no_broker_works_without_one(join: Join, url: str) -> None:
    a = join("a")
    before = a.identity
    with pytest.raises(StoreSharedError, match=r"no deployment \('a'\), .* or stop those"):
        open_store(url, of("shop"))
    assert a.identity == before
    a.close()
    b = open_store(url, of("shop"))
    assert b.share is not None
    assert b.share.identity == "shop"
    b.close()


# ---- names --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_a_name_that_a_living_broker_has_is_refused(join: Join, url: str) -> None:
    a = join("a")
    told: list[str] = []
    with pytest.raises(
        StoreLockedError,
        match=r"is open in the broker 'a' at tcp://a:1, which is alive.*other name",
    ):
        join("a", told.append)
    assert any("waiting for the broker 'a' at tcp://a:1" in text for text in told)
    put(a, id_in(slot_at(a, 0)))
    assert rows(url, "select id from writer where not fenced") == [(a.writer,)]


def test_the_wait_for_a_broker_of_the_same_name_ends_when_it_does(join: Join) -> None:
    a = join("a")

    def tell(text: str) -> None:
        if "waiting for the broker" in text:
            threading.Thread(target=a.close).start()

    again = join("a", tell)
    assert again.holdings().of(again.writer) == list(range(SLOTS))


def test_an_earlier_start_of_the_same_name_is_taken_over(join: Join, url: str) -> None:
    a, b = join("a"), join("b")
    mine = a.holdings().of(a.writer)[::2]
    a.hand_over(dict.fromkeys(mine, b.writer))
    id_ = id_in(mine[0])
    put(b, id_)
    kill_shared(b, url)
    again = join("b")
    assert in_journal(url) == []
    assert rows(url, "select fenced from writer order by id") == [(False,), (True,), (False,)]
    assert b.writer not in owners(url)
    owner = {a.writer: a, again.writer: again}[again.holdings().slots[mine[0]] or 0]
    eventually(lambda: owner.holdings().slots[mine[0]] == owner.writer)
    assert [pending.id for pending in owner.load_slots([mine[0]]).live] == [id_]


def test_many_open_a_new_store_at_once(join: Join, url: str) -> None:
    names = [f"n{n}" for n in range(6)]
    threads = [threading.Thread(target=join, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert rows(url, "select count(*) from writer where joined and not fenced") == [(6,)]
    # The first one has all that nobody had; the others are given theirs by its broker.
    assert list(Counter(owners(url)).values()) == [SLOTS]


def test_a_connection_that_is_lost_while_a_shared_store_is_opened(
    postgres: Cluster, join: Join, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fence = Opener._fence
    attempts: list[int] = []

    def lost_once(self: Opener, core: CoreConnection, writer: Writer) -> bool:
        attempts.append(writer.id)
        done = fence(self, core, writer)
        if len(attempts) == 1:
            raise psycopg.OperationalError("the answer was lost")
        return done

    monkeypatch.setattr(Opener, "_fence", lost_once)
    a = join("a")
    first, second = attempts
    assert second > first
    assert rows(url, "select id from writer where not fenced") == [(second,)]
    assert set(owners(url)) == {a.writer}


def test_an_opening_beats_while_it_waits(url: str, engine: PostgresEngine, join: Join) -> None:
    """Otherwise it would count as gone before it has begun."""
    thread = threading.Thread(target=join, args=("a",))
    thread.start()
    query = (
        "select count(*) from pulse join writer on id = writer "
        "where id > %s and not joined and seen_at > now() - interval '1 s'"
    )
    eventually(lambda: rows(url, query, epoch_of(engine)) == [(1,)])
    old = "update pulse set seen_at = now() - interval '1 day' where writer > %s returning writer"
    rows(url, old, epoch_of(engine))
    eventually(lambda: rows(url, query, epoch_of(engine)) == [(1,)])
    engine.close()
    thread.join(30)


# ---- other stores -------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["memory", "x.db"])
def test_a_store_that_cannot_be_shared(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreAddressError, match="cannot be shared by several brokers: use a store"):
        open_store(url, Opening(share=Share("a", "tcp://a:1")))
    assert not list(tmp_path.iterdir())


def test_a_shared_store_is_opened_by_its_url(url: str) -> None:
    store = open_store(url, Opening(share=Share("a", "tcp://a:1")))
    assert store.share is not None
    assert store.share.writer == store.snapshot.epoch
    store.close()


# ---- schemas ------------------------------------------------------------------------------------


def make_of_that_time(url: str, revision: str) -> None:
    """A store as it was when `revision` was the latest one."""
    opened(url).close()
    name = url.partition("?schema=")[2]
    added = {
        "0013": "select 1",
        "0012": f"drop index {name}.promise_stray",
        "0011": f"drop index {name}.promise_ended; drop index {name}.promise_kept; "
        f"drop index {name}.promise_gone; alter table {name}.promise drop column retention",
        "0010": f"alter table {name}.schedule drop column plan, drop column course",
        "0009": f"drop table {name}.attempt; alter table {name}.promise "
        "drop column node, drop column started_at, drop column acquired_at, "
        "drop column queued_at, drop column suspensions, drop column logged, "
        f"drop column function, drop column error; drop index if exists {name}.call_live",
        "0008": f"drop table {name}.slot; drop index {name}.promise_slot; "
        f"drop index {name}.callback_slot; drop index {name}.listener_slot; "
        f"drop index {name}.unblock_slot; drop index {name}.schedule_slot; "
        f"drop index {name}.writer_living; alter table {name}.writer drop column address; "
        f"alter table {name}.writer drop column joined",
        "0007": f"alter table {name}.promise drop column awaits",
    }
    for later, undo in added.items():
        if later > revision:
            rows(url, f"{undo}; select 1")
    rows(url, "update alembic_version set version_num = %s returning 1", revision)
    rows(url, f"insert into {name}.writer (name, session) values ('old', 1) returning id")
    rows(url, f"insert into {name}.pulse select max(id), now() from {name}.writer returning writer")
    rows(url, f"insert into {name}.progress select max(id), 0 from {name}.writer returning writer")


def shape(url: str) -> list[tuple[Any, ...]]:
    """Columns and indexes, without the name of the schema."""
    columns = rows(
        url,
        "select table_name, column_name, data_type, is_nullable, column_default, collation_name "
        "from information_schema.columns where table_schema = current_schema() order by 1, 2",
    )
    indexes = rows(
        url,
        "select replace(indexdef, current_schema(), '') from pg_indexes "
        "where schemaname = current_schema() order by 1",
    )
    options = rows(
        url,
        "select relname, reloptions from pg_class "
        "where relnamespace = current_schema()::regnamespace and reloptions is not null order by 1",
    )
    return [*columns, *indexes, *options]


@pytest.mark.parametrize("revision", ["0006", "0007"])
@pytest.mark.parametrize("share", [None, Share("a", "tcp://a:1")], ids=["sole", "shared"])
def test_an_older_store_is_migrated_by_whoever_takes_it_over(
    revision: str, share: Share | None, postgres: Cluster, url: str, idle: None
) -> None:
    """While its broker lives it is left as it is."""
    make_of_that_time(url, revision)
    before = shape(url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening_module, "LIVE_S", 0.3)
        with pytest.raises(StoreLockedError, match="is open in old, which is alive"):
            open_store(url, Opening(share=share))
    assert shape(url) == before
    grow_old(url)
    store = open_store(url, Opening(share=share))
    assert rows(url, "select version_num from alembic_version") == [(migrations.HEAD,)]
    assert set(owners(url)) == {None if share is None else store.snapshot.epoch}
    assert rows(url, "select fenced from writer where name = 'old'") == [(True,)]
    store.close()
    new = postgres.new_schema()
    opened(new).close()
    assert shape(url) == shape(new)
