"""A broker that was taken over writes nothing more, and whoever took over has all that it wrote."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.cluster import Cluster, rows
from tests.integration.store.postgres_world import (
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
from understudy_store.engines.journaled.journal_records import encode
from understudy_store.engines.postgres import opening as opening_module
from understudy_store.engines.postgres import pulse, table
from understudy_store.engines.postgres.engine import PostgresEngine
from understudy_store.engines.postgres.opening import Opener
from understudy_store.engines.postgres.rows_writer import write_memtable
from understudy_store.engines.postgres.takeover import session_name
from understudy_store.errors import (
    OpeningStoppedError,
    StoreError,
    StoreFencedError,
    StoreFormatError,
    StoreLockedError,
)

pytestmark = pytest.mark.usefixtures("way")


@pytest.fixture
def sessions_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A takeover ends no session of the earlier broker: the fence must do without."""
    monkeypatch.setattr(Opener, "_end_sessions", lambda *_: None)


@pytest.fixture
def no_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pulse beats, so only a commit finds out that it was fenced."""
    monkeypatch.setattr(pulse, "BEAT_S", 3600.0)


@contextmanager
def opening(url: str) -> Iterator[Callable[[], PostgresEngine]]:
    """Open the store on another thread; what is given returns the engine when it is open."""
    made: list[PostgresEngine | BaseException] = []

    def work() -> None:
        try:
            made.append(opened(url))
        except BaseException as error:
            made.append(error)

    thread = threading.Thread(target=work)
    thread.start()

    def taken() -> PostgresEngine:
        thread.join(30)
        [engine] = made
        if isinstance(engine, BaseException):
            raise engine
        return engine

    try:
        yield taken
    finally:
        thread.join(30)


def schema_of(url: str) -> str:
    return url.partition("?schema=")[2]


def next_name(url: str) -> str:
    """The name of the sessions of the writer that is made next."""
    [(last,)] = rows(url, "select max(id) from writer")
    return session_name(schema_of(url), last + 1)


@contextmanager
def commit_in_flight(
    url: str, engine: PostgresEngine, number: int, changes: Changes
) -> Iterator[psycopg.Connection[Any]]:
    """A session that has sent a commit of `engine`; it is there once the connection commits."""
    base = url.partition("?")[0]
    with psycopg.connect(base, cursor_factory=psycopg.RawCursor) as connection:
        values = epoch_of(engine), engine._log._session, number, encode(changes)
        assert connection.execute(engine._statements.commit, values).rowcount == 1
        yield connection


@pytest.mark.usefixtures("sessions_stay", "no_beats")
def test_a_fenced_broker_writes_nothing(url: str, engine: PostgresEngine) -> None:
    """It was paused, another one took over, and its sessions are still there when it wakes."""
    insert(engine, "a")
    grow_old(url)
    other = opened(url)
    assert epoch_of(other) > epoch_of(engine)
    before = in_journal(url), rows(url, "select * from promise order by id")
    with pytest.raises(StoreFencedError, match="has taken over from this one"):
        insert(engine, "b")
    assert (in_journal(url), rows(url, "select * from promise order by id")) == before
    assert ids_of(other) == ["a"]
    insert(other, "b")
    other.close()


@pytest.mark.usefixtures("no_beats")
def test_a_fenced_broker_whose_sessions_were_ended_writes_nothing(
    url: str, engine: PostgresEngine
) -> None:
    insert(engine, "a")
    grow_old(url)
    other = opened(url)
    with pytest.raises(StoreFencedError):
        insert(engine, "b")
    assert ids_of(other) == ["a"]
    other.close()


@pytest.mark.usefixtures("sessions_stay", "no_beats")
def test_a_fenced_follower_writes_nothing(url: str, engine: PostgresEngine) -> None:
    """What it has was brought in by the other one, which has gone on since."""
    insert(engine, "a", "b")
    grow_old(url)
    other = opened(url)
    settle(other, 7, "a")
    flush(other)
    with pytest.raises(StoreFencedError):
        flush(engine)
    assert rows(url, "select id, settled_at from promise order by id") == [("a", 7), ("b", None)]
    other.close()


@pytest.mark.usefixtures("sessions_stay", "no_beats")
def test_a_takeover_waits_for_a_follower(
    postgres: Cluster, url: str, engine: PostgresEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would bring in rows that the follower is about to write as well."""
    insert(engine, "a", "b")
    grow_old(url)
    begun, go = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def written(*args: Any) -> None:
        write_memtable(*args)
        begun.set()
        assert go.wait(30)

    def work() -> None:
        try:
            flush(engine)
        except StoreError as error:
            failed.append(error)

    monkeypatch.setattr(table, "write_memtable", written)
    flusher = threading.Thread(target=work)
    flusher.start()
    assert begun.wait(10)
    name = next_name(url)
    with opening(url) as taken:
        wait_until_waiting(postgres, name)
        go.set()
        flusher.join()
        other = taken()
    assert not failed
    assert ids_of(other) == ["a", "b"]
    other.close()


@pytest.mark.usefixtures("sessions_stay", "no_beats")
def test_a_takeover_sees_the_commit_that_it_waited_for(
    postgres: Cluster, url: str, engine: PostgresEngine
) -> None:
    """That commit is acknowledged: its session had not been told yet of the fence."""
    insert(engine, "a")
    grow_old(url)
    name = next_name(url)
    changes = Changes(2, inserted=[row("b")], updated=[settled(row("a"))])
    with commit_in_flight(url, engine, 2, changes) as connection, opening(url) as taken:
        blocked = threading.Event()

        def wait() -> None:
            wait_until_waiting(postgres, name)
            blocked.set()

        threading.Thread(target=wait).start()
        # Without the share lock it is not waited for, and the other one is open before it lands.
        eventually(lambda: blocked.is_set() or in_journal(url) == [])
        connection.commit()
        other = taken()
    assert ids_of(other) == ["a", "b"]
    assert [each.promise.settled_at for each in other.find(["a"])] == [5]
    other.close()


@pytest.mark.usefixtures("sessions_stay", "no_beats")
def test_a_commit_that_comes_during_the_takeover_is_refused(
    postgres: Cluster, url: str, engine: PostgresEngine
) -> None:
    insert(engine, "a")
    failed: list[BaseException] = []

    def commit() -> None:
        try:
            insert(engine, "b")
        except StoreError as error:
            failed.append(error)

    with locked_writer(url, engine) as taker:
        thread = threading.Thread(target=commit)
        thread.start()
        wait_until_waiting(postgres, engine._connector.application_name)
        schema = schema_of(url)
        taker.execute(f"update {schema}.writer set fenced = true".encode())
        taker.commit()
    thread.join(10)
    assert [type(error) for error in failed] == [StoreFencedError]
    assert in_journal(url) == [(epoch_of(engine), 1)]


def test_a_fenced_broker_that_writes_nothing_learns_it_by_its_pulse(
    url: str, engine: PostgresEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[StoreError] = []
    engine.watch(failed.append)
    grow_old(url)
    opened(url).close()
    eventually(lambda: failed)
    assert isinstance(failed[0], StoreFencedError)


def test_a_takeover_has_all_of_several_writers(url: str, idle: None) -> None:
    first = opened(url)
    insert(first, "a")
    kill(first, url)
    second = opened(url)
    settle(second, 7, "a")
    kill(second, url)
    third = opened(url)
    assert [each.promise.settled_at for each in third.find(["a"])] == [7]
    assert [fenced for (fenced,) in rows(url, "select fenced from writer order by id")] == [
        *(True, True, False)
    ]
    assert rows(url, "select writer from progress") == [(epoch_of(third),)]
    third.close()


def test_a_writer_that_was_fenced_takes_nothing_over(
    url: str, engine: PostgresEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was paused while it opened the store; what it took would stay with it for ever."""
    insert(engine, "a")
    kill(engine, url)
    alive = Opener._alive

    def paused(self: Opener, *args: Any) -> Any:
        rows(url, f"update writer set fenced = true where id > {epoch_of(engine)} returning id")
        return alive(self, *args)

    monkeypatch.setattr(Opener, "_alive", paused)
    with pytest.raises(StoreFencedError):
        opened(url)
    monkeypatch.undo()
    assert in_journal(url) == [(epoch_of(engine), 1)]
    other = opened(url)
    assert ids_of(other) == ["a"]
    other.close()


def test_a_broker_that_is_alive_is_waited_for_and_named(
    url: str, engine: PostgresEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening_module, "LIVE_S", 0.3)
    told: list[str] = []
    with pytest.raises(StoreLockedError, match=r"is open in process \d+ on .* which is alive"):
        opened(url, Opening(tell=told.append))
    assert any("waiting for process" in text for text in told)
    insert(engine, "a")
    assert ids_of(engine) == ["a"]


def test_the_wait_for_a_broker_ends_as_soon_as_it_is_closed(url: str, idle: None) -> None:
    first = opened(url)
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        if "waiting for process" in text:
            threading.Thread(target=first.close).start()

    second = opened(url, Opening(tell=tell))
    assert any("waiting for process" in text for text in told)
    second.close()


def test_the_wait_for_a_broker_ends_when_it_is_unwanted(url: str, engine: PostgresEngine) -> None:
    unwanted = threading.Event()
    opening = Opening(tell=lambda text: unwanted.set(), is_unwanted=unwanted.is_set)
    with pytest.raises(OpeningStoppedError):
        opened(url, opening)
    assert rows(url, "select count(*) from pulse") == [(1,)]


def test_a_store_that_was_closed_leaves_nothing_to_wait_for(url: str) -> None:
    engine = opened(url)
    insert(engine, "a")
    engine.close()
    assert in_journal(url) == []
    assert rows(url, "select count(*) from pulse") == [(0,)]
    assert rows(url, "select count(*) from writer where not fenced") == [(0,)]
    told: list[str] = []
    again = opened(url, Opening(tell=told.append))
    assert ids_of(again) == ["a"]
    assert not any("waiting" in text for text in told)
    again.close()


def test_a_journal_with_a_gap_is_refused(url: str, engine: PostgresEngine) -> None:
    for id_ in ("a", "b", "c"):
        insert(engine, id_)
    kill(engine, url)
    rows(url, "delete from journal where number = 2 returning number")
    with pytest.raises(StoreFormatError, match="lacks commit 2 of writer"):
        opened(url)
    assert [number for _, number in in_journal(url)] == [1, 3]


def test_a_large_commit_is_packed_in_the_journal_and_brought_in(
    url: str, engine: PostgresEngine
) -> None:
    ids = [f"a.{n}" for n in range(200)]
    insert(engine, "a")
    insert(engine, *ids)
    settle(engine, 7, *ids)
    query = "select length(data) from journal where number > 1"
    assert all(size < 200 * len(ids) // 10 for (size,) in rows(url, query))
    kill(engine, url)
    other = opened(url)
    assert {each.promise.settled_at for each in other.find(ids)} == {7}
    other.close()


def test_a_packed_commit_that_is_damaged_is_refused(url: str, engine: PostgresEngine) -> None:
    insert(engine, "a")
    insert(engine, *(f"a.{n}" for n in range(200)))
    rows(url, "update journal set data = substr(data, 1, 100) where number = 2 returning number")
    kill(engine, url)
    with pytest.raises(StoreFormatError, match="is damaged"):
        opened(url)


def test_an_epoch_of_another_store_is_refused(engine: PostgresEngine) -> None:
    with pytest.raises(StoreFencedError):
        engine.commit(Changes(1, inserted=[row("a")]), [], epoch_of(engine) + 1)
