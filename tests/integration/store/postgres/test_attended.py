"""Finds and commits that no thread waits for: when they count, and what becomes of those cut."""

from __future__ import annotations

from collections.abc import Callable
from queue import Queue

import pytest
from msgspec.structs import replace

from tests.attending import attend
from tests.cluster import Cluster, rows
from tests.integration.store.postgres_world import (
    cut,
    end_sessions,
    epoch_of,
    flush,
    id_in,
    ids_of,
    in_journal,
    insert,
    locked_writer,
    put,
    slot_at,
)
from tests.unit.store.samples import row
from understudy_store.changes import Changes
from understudy_store.engines.postgres.begun import BegunCommit, BegunFind
from understudy_store.engines.postgres.engine import PostgresEngine
from understudy_store.engines.postgres.log import BEGUN_BYTES_MAX
from understudy_store.engines.postgres.prepared import Prepared
from understudy_store.engines.postgres.shared_engine import SharedPostgresEngine
from understudy_store.engines.shared import Holdings
from understudy_store.errors import StoreError
from understudy_store.records import Row, Value
from understudy_store.store import Store


def begin(engine: PostgresEngine, changes: Changes) -> BegunCommit:
    """Begin a commit, which is possible."""
    begun = engine.begin(changes, epoch_of(engine))
    assert begun is not None
    return begun


def new(*ids: str) -> Changes:
    return Changes(1, inserted=[row(id_) for id_ in ids])


def large(id_: str) -> Changes:
    data = b"x" * (BEGUN_BYTES_MAX + 1)
    return Changes(1, inserted=[Row(replace(row(id_).promise, param=Value({}, data)))])


def test_a_commit_is_seen_once_it_is_durable(url: str, engine: PostgresEngine) -> None:
    insert(engine, "a")
    with locked_writer(url, engine) as holder:
        begun = begin(engine, new("a.1"))
        assert begun.advance() is False
        assert engine.find_known(["a.1"]) != [row("a.1")]
        holder.commit()
    attend(begun)
    assert engine.find_known(["a.1"]) == [row("a.1")]
    assert in_journal(url) == [(epoch_of(engine), 1), (epoch_of(engine), 2)]


def test_a_commit_that_fails_after_its_statement_does_not_count(
    url: str, engine: PostgresEngine
) -> None:
    """The server tells the result of a statement first, and only then commits."""
    insert(engine, "a")
    schema = url.partition("?schema=")[2]
    rows(
        url,
        f"create function {schema}.refuse() returns trigger language plpgsql as "
        "'begin raise exception ''the commit fails''; end'; "
        f"create constraint trigger late after insert on {schema}.journal "
        f"deferrable initially deferred for each row execute function {schema}.refuse(); select 1",
    )
    begun = begin(engine, new("b"))
    with pytest.raises(StoreError, match="the commit fails"):
        attend(begun)
    rows(url, f"drop trigger late on {schema}.journal; select 1")
    assert in_journal(url) == [(epoch_of(engine), 1)]
    assert engine.begin(new("c"), epoch_of(engine)) is None
    with pytest.raises(StoreError, match="the commit fails"):
        insert(engine, "c")


def test_nothing_else_is_committed_or_brought_to_the_tables_meanwhile(
    url: str, engine: PostgresEngine
) -> None:
    insert(engine, "a")
    with locked_writer(url, engine) as holder:
        begun = begin(engine, new("b"))
        assert engine.begin(new("c"), epoch_of(engine)) is None
        holder.commit()
    attend(begun)
    assert ids_of(engine) == ["a", "b"]


def test_what_the_wire_does_not_take_at_once_is_sent_by_who_can_wait(
    url: str, engine: PostgresEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(engine, "a")
    connection = engine._log._link._connection
    send = Prepared.send

    def sent_in_part(prepared: Prepared, *values: bytes) -> bool:
        send(prepared, *values)
        return False

    monkeypatch.setattr(Prepared, "send", sent_in_part)
    changes = new("b")
    assert engine.begin(changes, epoch_of(engine)) is None
    engine.commit(changes, [], epoch_of(engine))
    # It was sent once, over this connection.
    assert engine._log._link._connection is connection
    assert in_journal(url) == [(epoch_of(engine), 1), (epoch_of(engine), 2)]
    assert ids_of(engine) == ["a", "b"]


def test_a_large_commit_is_left_to_who_can_wait(engine: PostgresEngine) -> None:
    insert(engine, "a")
    changes = large("b")
    assert engine.begin(changes, epoch_of(engine)) is None
    engine.commit(changes, [], epoch_of(engine))
    flush(engine)
    assert engine.find(["b"]) == changes.inserted


def test_a_commit_that_is_not_for_this_store_is_not_begun(engine: PostgresEngine) -> None:
    assert engine.begin(new("a"), epoch_of(engine) + 1) is None
    insert(engine, "a")
    again = new("a")  # it exists
    assert engine.begin(again, epoch_of(engine)) is None
    with pytest.raises(StoreError, match="exists"):
        engine.commit(again, [], epoch_of(engine))


@pytest.mark.parametrize("when", ["before", "meanwhile", "afterwards"])
def test_sessions_that_are_ended_around_a_commit(
    postgres: Cluster, url: str, engine: PostgresEngine, when: str
) -> None:
    insert(engine, "a")
    if when == "before":
        assert end_sessions(postgres, engine) > 0
        begun = engine.begin(new("b"), epoch_of(engine))
    elif when == "meanwhile":
        with locked_writer(url, engine) as holder:
            begun = begin(engine, new("b"))
            assert end_sessions(postgres, engine) > 0
            holder.commit()
    else:
        begun = begin(engine, new("b"))
        assert end_sessions(postgres, engine) > 0
    if begun is None:
        insert(engine, "b")
    else:
        attend(begun)
    assert in_journal(url) == [(epoch_of(engine), 1), (epoch_of(engine), 2)]
    assert ids_of(engine) == ["a", "b"]


def test_slots_are_handed_over_after_a_commit_that_is_cut_meanwhile(
    join: Callable[[str], SharedPostgresEngine], url: str
) -> None:
    a, b = join("a"), join("b")
    slot = slot_at(a, 0)
    put(a, id_in(slot, "first"))  # over the connection that commits are sent on from here on
    store = Store(a)
    done: Queue[object] = Queue()
    with locked_writer(url, a.engine) as holder:
        changes = new(id_in(slot))
        assert store.commit(changes, [], done.put, attended=True) is None
        assert store.attended_commit.descriptor is not None
        store.hand_over({slot: b.writer}, done.put)
        cut(a.engine)
        holder.commit()
    assert done.get(timeout=30) == []
    holdings = done.get(timeout=30)
    assert isinstance(holdings, Holdings)
    assert holdings.slots[slot] == b.writer
    assert b.find([id_in(slot)]) == changes.inserted
    store.close()


# ---- finds ---------------------------------------------------------------------------------------


def begin_find(engine: PostgresEngine, *ids: str) -> BegunFind:
    """Begin a find, which is possible."""
    begun = engine.begin_find(ids)
    assert begun is not None
    return begun


@pytest.fixture
def asked(engine: PostgresEngine) -> PostgresEngine:
    """A store that has a connection for finds."""
    insert(engine, "a", "b.1")
    flush(engine)
    assert engine.find(["x", "y"]) == []
    return engine


def test_an_id_that_the_tables_lack_is_known_to_be_new_from_then_on(asked: PostgresEngine) -> None:
    assert attend(begin_find(asked, "c")) == []
    assert asked.find_known(["c.1", "c.2"]) == []
    insert(asked, "d")
    assert attend(begin_find(asked, "d", "cc")) == [row("d")]


@pytest.mark.parametrize("id_", ["b", "b.2", "a\0", "0"])
def test_an_id_before_others_is_not_taken_for_them(asked: PostgresEngine, id_: str) -> None:
    assert attend(begin_find(asked, id_)) == []
    assert asked.find(["a", "b.1"]) == [row("a"), row("b.1")]


def test_an_id_that_the_tables_have_takes_a_thread(asked: PostgresEngine) -> None:
    begun = begin_find(asked, "a")
    assert attend(begun) == [row("a")]
    assert attend(begin_find(asked, "a")) == [row("a")]


def test_several_ids_take_a_thread(asked: PostgresEngine) -> None:
    assert asked.begin_find(["c", "d"]) is None
    assert asked.find(["c", "d"]) == []


def test_what_was_inserted_meanwhile_is_not_taken_for_new(asked: PostgresEngine) -> None:
    begun = begin_find(asked, "c")
    insert(asked, "c.1")
    assert attend(begun) == []
    flush(asked)
    assert asked.find(["c.1"]) == [row("c.1")]


@pytest.mark.parametrize("when", ["before", "afterwards"])
def test_sessions_that_are_ended_around_a_find(
    postgres: Cluster, asked: PostgresEngine, when: str
) -> None:
    if when == "before":
        assert end_sessions(postgres, asked) > 0
    begun = asked.begin_find(["c"])
    if when == "afterwards":
        assert end_sessions(postgres, asked) > 0
    assert (asked.find(["c"]) if begun is None else attend(begun)) == []
    assert asked.find(["a", "c"]) == [row("a")]
    assert attend(begin_find(asked, "bb")) == []


def test_others_find_once_a_find_is_given_up(asked: PostgresEngine) -> None:
    begun = begin_find(asked, "c")
    assert asked.begin_find(["bb"]) is None
    assert begun.complete() == []
    assert attend(begin_find(asked, "bb")) == []
