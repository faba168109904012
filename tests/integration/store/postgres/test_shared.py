"""Several brokers have one store open, each with slots of its own, which they hand over."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.cluster import rows
from tests.integration.store.postgres_world import (
    id_in,
    in_journal,
    kill_shared,
    owners,
    put,
    slot_at,
    split,
)
from tests.support import eventually
from tests.unit.store.samples import row, settled, targeted
from understudy_store.changes import Changes
from understudy_store.commands import PromiseSearch, ScheduleSearch, TaskPreload, TaskSearch
from understudy_store.engines.base import Read
from understudy_store.engines.postgres import keeper, log
from understudy_store.engines.postgres.connections import Link
from understudy_store.engines.postgres.holdings import read_holdings
from understudy_store.engines.postgres.keeper import Keeper
from understudy_store.engines.postgres.shared_engine import SharedPostgresEngine
from understudy_store.engines.postgres.writer import LEASE_S
from understudy_store.engines.shared import Holdings, SharedEngine
from understudy_store.errors import StoreError, StoreFailedError, StoreFencedError
from understudy_store.records import EMPTY, ScheduleRecord
from understudy_store.slots import SLOTS, shared_out, slot_of
from understudy_store.store import Store

Join = Callable[..., SharedPostgresEngine]


def end_looks(monkeypatch: pytest.MonkeyPatch, *engines: SharedPostgresEngine) -> None:
    """Return once no look of these brokers is under way; none comes after."""
    ended = {engine.engine.keeper: threading.Event() for engine in engines}
    monkeypatch.setattr(Keeper, "_look", lambda self: ended[self].set())
    for keeper_, has_ended in ended.items():
        assert keeper_ is not None
        keeper_.look_soon()
        assert has_ended.wait(60.0)


def schedule(id_: str) -> ScheduleRecord:
    return ScheduleRecord(id_, "* * * * *", "x", 1, EMPTY, {}, 1, 0, None)


def test_brokers_share_facts_which_last(join: Join) -> None:
    first, second = join("a"), join("b")
    assert first.fact("pauses") is None
    first.put_fact("pauses", "one")
    second.put_fact("pauses", "two")
    assert (first.fact("pauses"), first.fact("now")) == ("two", None)
    first.close()
    second.close()
    assert join("c").fact("pauses") == "two"


# ---- who has what -------------------------------------------------------------------------------


def test_the_first_broker_has_all_slots(join: Join) -> None:
    a = join("a")
    assert isinstance(a, SharedEngine)
    assert a.holdings() == Holdings(SLOTS, ((a.writer, "a", "tcp://a:1"),), (a.writer,) * SLOTS)
    snapshot = a.load()
    assert (list(snapshot.live), snapshot.epoch) == ([], a.writer)


def test_a_broker_that_joins_is_given_its_slots_by_the_others(join: Join) -> None:
    a = join("a")
    seen: list[Holdings] = []
    a.watch_holdings(seen.append)
    b = join("b")
    assert b.holdings().of(b.writer) == []
    eventually(lambda: seen and seen[-1] == b.holdings())
    places = shared_out(["a", "b"])
    given = {slot: b.writer for slot in range(SLOTS) if places[slot] == 1}
    assert a.hand_over(given) == a.holdings()
    assert a.holdings().of(b.writer) == sorted(given)
    eventually(lambda: b.holdings() == a.holdings())
    assert [holdings.version for holdings in seen] == sorted(holdings.version for holdings in seen)


def test_a_broker_is_told_at_once_and_then_of_changes_only(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LOOK_S", 0.01)
    a = join("a")
    seen: list[tuple[str, Holdings]] = []
    a.watch_holdings(lambda holdings: seen.append((threading.current_thread().name, holdings)))
    eventually(lambda: seen)
    time.sleep(0.1)
    assert seen == [("understudy-store-keeper", a.holdings())]


def test_slots_that_are_expected_are_looked_for_often(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = join("a")
    monkeypatch.setattr(keeper, "LOOK_S", 3600.0)
    b = join("b")
    split(a, b)


# ---- handing over -------------------------------------------------------------------------------


def test_a_slot_takes_all_commits_along(join: Join, url: str) -> None:
    """They are in the journal only until then."""
    a, b = join("a"), join("b")
    mine, other = slot_at(a, 0), slot_at(a, 1)
    ids = [id_in(mine, "p"), id_in(mine, "q"), id_in(other, "p")]
    changes = Changes(
        41,
        inserted=[targeted(ids[0]), settled(row(ids[1])), row(ids[2])],
        callbacks_added=[(ids[0], "w"), (ids[2], "w")],
        listeners_added=[(ids[0], "poll://any@g"), (ids[2], "poll://any@g")],
        unblocks_added=[(ids[1], "poll://any@g")],
        schedules_put=[schedule(ids[0]), schedule(ids[2])],
    )
    a.commit(changes, [], a.writer)
    assert in_journal(url)
    a.hand_over({mine: b.writer})
    assert in_journal(url) == []
    loaded = b.load_slots([mine])
    assert [pending.row() for pending in loaded.live] == [targeted(ids[0])]
    assert list(loaded.callbacks) == [(ids[0], "w")]
    assert list(loaded.listeners) == [(ids[0], "poll://any@g")]
    assert [(each.id, to) for each, to in loaded.unblocks] == [(ids[1], "poll://any@g")]
    assert loaded.schedules == [schedule(ids[0])]
    assert (loaded.now, loaded.epoch) == (41, b.writer)


def test_only_own_slots_are_handed_over_and_only_to_the_living(join: Join, url: str) -> None:
    a, b, c = join("a"), join("b"), join("c")
    split(a, b)
    kill_shared(c, url)
    rows(url, f"update writer set fenced = true where id = {c.writer} returning id")
    before = owners(url)
    theirs, mine = slot_at(b, 0), slot_at(a, 0)
    holdings = a.hand_over({theirs: a.writer, mine: c.writer, slot_at(a, 1): 4711})
    assert list(holdings.slots) == owners(url) == before


def test_a_fenced_broker_hands_nothing_over(
    join: Join, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = join("a"), join("b")
    end_looks(monkeypatch, a, b)
    rows(url, f"update writer set fenced = true where id = {a.writer} returning id")
    with pytest.raises(StoreFencedError):
        a.hand_over({slot_at(a, 0): b.writer})
    assert set(owners(url)) == {a.writer}


def test_a_fenced_broker_answers_no_reads(
    join: Join, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no slots any more, so it would answer that there is nothing."""
    monkeypatch.setattr(keeper, "LOOK_S", 3600.0)
    a = join("a")
    id_ = id_in(slot_at(a, 0))
    put(a, id_)
    search = [Read(PromiseSearch(limit=10), 1)]
    [found] = a.commit(Changes(0), search, a.writer)
    assert [each.id for each in found.promises or ()] == [id_]
    rows(url, f"update writer set fenced = true where id = {a.writer} returning id")
    rows(url, "update slot set writer = null returning slot")
    with pytest.raises(StoreFencedError):
        a.commit(Changes(0), search, a.writer)


def test_slots_change_hands_under_commits(join: Join, url: str) -> None:
    """Each promise is inserted by the owner of its slot, once, and found by the next owner."""
    engines = [join("a"), join("b")]
    made: list[str] = []
    for n in range(30):
        giver, receiver = engines[n % 2], engines[1 - n % 2]
        mine = giver.holdings().of(giver.writer)
        ids = [id_in(slot, f"n{n}-") for slot in mine[:5]]
        put(giver, *ids)
        made += ids
        giver.hand_over(dict.fromkeys(mine, receiver.writer))
        assert Counter(owners(url)) == {receiver.writer: SLOTS}
        _wait_for_all(receiver)
        assert {each.promise.id for each in receiver.find(ids)} == set(ids)
    live = engines[0].load_slots(range(SLOTS)).live
    assert sorted(pending.id for pending in live) == sorted(made)


def _wait_for_all(engine: SharedPostgresEngine) -> None:
    eventually(lambda: len(engine.holdings().of(engine.writer)) == SLOTS)


def test_nothing_is_known_of_slots_that_were_away(join: Join) -> None:
    """An id that was absent when the slot left may be there when it comes back."""
    a, b = join("a"), join("b")
    slot = slot_at(a, 0)
    parent = id_in(slot)
    assert a.find([parent]) == []
    put(a, parent)
    assert a.find([f"{parent}.1"]) == []
    a.hand_over({slot: b.writer})
    b.load_slots([slot])
    put(b, f"{parent}.1")
    b.hand_over({slot: a.writer})
    a.load_slots([slot])
    assert [each.promise.id for each in a.find([f"{parent}.1"])] == [f"{parent}.1"]


def test_a_find_during_a_hand_over_learns_nothing(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = join("a"), join("b")
    slot = slot_at(a, 0)
    parent = id_in(slot)
    table = a.engine._table
    first_from = table.first_from

    def handed_over_meanwhile(id_: str) -> str | None:
        found = first_from(id_)
        monkeypatch.undo()
        a.hand_over({slot: b.writer})
        return found

    monkeypatch.setattr(table, "first_from", handed_over_meanwhile)
    assert a.find([parent]) == []
    put(b, f"{parent}.1")
    b.hand_over({slot: a.writer})
    assert [each.promise.id for each in a.find([f"{parent}.1"])] == [f"{parent}.1"]


def test_the_clock_of_a_slot_does_not_go_back(join: Join) -> None:
    a, b = join("a"), join("b")
    slot = slot_at(a, 0)
    put(a, id_in(slot), now=700)
    put(b, now=3)
    a.hand_over({slot: b.writer})
    assert b.load_slots([slot]).now == 700
    assert b.load().now == 700


# ---- lost connections ---------------------------------------------------------------------------


@pytest.mark.parametrize("is_done", [True, False])
def test_a_connection_that_is_lost_during_a_hand_over(
    is_done: bool, join: Join, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the first attempt was done or not: in the end the slots are there, once."""
    a, b = join("a"), join("b")
    inner = a.engine._log
    act = inner._hand_over
    attempts: list[int] = []

    def lost(connection: Any, *args: Any, **options: Any) -> None:
        attempts.append(1)
        if len(attempts) == 1 and not is_done:
            raise psycopg.OperationalError("the connection was lost")
        act(connection, *args, **options)
        if len(attempts) == 1:
            raise psycopg.OperationalError("the answer was lost")

    monkeypatch.setattr(inner, "_hand_over", lost)
    monkeypatch.setattr(Link, "_is_lost", lambda *_: True)
    slot = slot_at(a, 0)
    put(a, id_in(slot))
    holdings = a.hand_over({slot: b.writer})
    assert len(attempts) == 2
    assert holdings.of(b.writer) == [slot]
    assert holdings.version == SLOTS + 1
    put(a, id_in(slot_at(a, 0)))
    assert len(in_journal(url)) == 1


def test_an_attempt_to_hand_over_that_comes_late_does_nothing(
    join: Join, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new session was begun since, and the broker goes on with the slot."""
    a, b = join("a"), join("b")
    slot = slot_at(a, 0)
    put(a, id_in(slot))
    inner = a.engine._log
    with a.engine._connector.open() as late:
        session = inner._session
        inner._link.close()
        put(a, id_in(slot, "y"))
        monkeypatch.setattr(inner, "_session", session)
        with pytest.raises(StoreFencedError):
            inner._hand_over(late, {slot: b.writer}, {slot: 1})
    assert owners(url)[slot] == a.writer


def test_a_slot_that_is_back_already_has_left_all_the_same(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What memory has of it is out of date: the other one may have written."""
    a, b = join("a"), join("b")
    slot, other = slot_at(a, 0), slot_at(a, 1)
    seen: list[Holdings] = []
    a.watch_holdings(seen.append)

    def returned(*args: Any) -> Any:
        monkeypatch.undo()
        put(b, id_in(slot))
        b.hand_over({slot: a.writer})
        return read_holdings(*args)

    monkeypatch.setattr(log, "read_holdings", returned)
    after = a.hand_over({slot: b.writer, other: 4711})
    assert (after.slots[slot], after.slots[other]) == (b.writer, a.writer)
    eventually(lambda: seen and seen[-1].version > after.version)
    assert seen[-1].slots[slot] == a.writer


# ---- loading and reading ------------------------------------------------------------------------


def test_slots_of_others_are_not_loaded(join: Join) -> None:
    a, b = join("a"), join("b")
    split(a, b)
    with pytest.raises(StoreError, match=f"are not those of writer {a.writer}"):
        a.load_slots([slot_at(a, 0), slot_at(b, 0)])


def test_searches_and_preloads_answer_from_own_slots(join: Join) -> None:
    """What the tables have of others' slots may be out of date."""
    a, b = join("a"), join("b")
    split(a, b)
    ids = [id_in(slot_at(engine, 0)) for engine in (a, b)]
    tags = {"understudy:branch": ids[0], "understudy:origin": ids[0]}
    for engine, id_ in zip((a, b), ids, strict=True):
        made = [targeted(id_, **tags)]
        engine.commit(Changes(1, inserted=made, schedules_put=[schedule(id_)]), [], engine.writer)
    for engine, id_ in zip((a, b), ids, strict=True):
        reads = [
            Read(command, 1)
            for command in (PromiseSearch(), TaskSearch(), ScheduleSearch(), TaskPreload(id_, 1))
        ]
        replies = engine.commit(Changes(0), reads, engine.writer)
        found = [
            [each.id for each in listed]
            for reply in replies
            for listed in (reply.promises, reply.tasks, reply.schedules)
            if listed is not None
        ]
        assert found[:3] == [[id_], [id_], [id_]]
        assert found[3] == ([id_] if engine is a else [])


def test_a_load_of_one_slot_reads_little(join: Join, url: str) -> None:
    a = join("a")
    inner = a.engine
    texts = inner._statements
    values = {"slots": [7], "writer": a.writer}
    with inner._connector.open() as connection:
        # Of an empty table, the server reads any index with pleasure.
        rows(url, "drop index promise_live; select 1")
        for text, index in (
            (texts.load_promises, "promise_slot"),
            (texts.load_callbacks, "callback_slot"),
            (texts.load_listeners, "listener_slot"),
            (texts.load_unblocks, "unblock_slot"),
            (texts.load_schedules, "schedule_slot"),
        ):
            plan = connection.execute(f"explain {text}".encode(), values).fetchall()
            assert index in str(plan)


# ---- the end ------------------------------------------------------------------------------------


def test_a_broker_that_is_closed_leaves_its_slots_to_the_living(join: Join, url: str) -> None:
    a, b, c = join("a"), join("b"), join("c")
    id_ = id_in(3)
    put(a, id_)
    a.close()
    places = shared_out(["b", "c"])
    assert owners(url) == [(b.writer, c.writer)[place] for place in places]
    assert in_journal(url) == []
    owner = (b, c)[places[slot_of(id_)]]
    eventually(lambda: owner.holdings().slots[3] == owner.writer)
    assert [pending.id for pending in owner.load_slots([3]).live] == [id_]
    b.close()
    c.close()
    assert set(owners(url)) == {None}
    assert rows(url, "select * from pulse") == rows(url, "select * from progress") == []


def test_memory_is_fresh_for_a_part_of_a_lease_after_a_beat(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another broker may take over once the lease is over, and not before."""
    a = join("a")
    assert a.is_fresh()
    end_looks(monkeypatch, a)
    beaten_at = a.engine.keeper._beaten_at  # type: ignore[union-attr]  # there is one
    for part, fresh in ((0.79, True), (0.81, False)):
        monkeypatch.setattr(keeper, "elapsed_s", lambda at=part: beaten_at + at * LEASE_S)
        # Commits do not count: the pulse is as old as it was.
        put(a, id_in(slot_at(a, 0), f"n{part:.0%}"))
        assert a.is_fresh() == fresh


# ---- the store ----------------------------------------------------------------------------------


def test_a_store_hands_over_behind_its_commits(join: Join, url: str) -> None:
    a, b = join("a"), join("b")
    store, other = Store(a), Store(b)
    assert store.share is a
    slot = slot_at(a, 0)
    done: list[Any] = []
    store.commit(Changes(9, inserted=[row(id_in(slot))]), [], done.append)
    store.hand_over({slot: b.writer}, done.append)
    eventually(lambda: len(done) == 2)
    assert done == [[], a.holdings()]
    eventually(lambda: b.holdings() == a.holdings())
    other.load_slots([slot], done.append)
    eventually(lambda: len(done) == 3)
    assert [pending.id for pending in done[2].live] == [id_in(slot)]
    other.close()
    store.close()


def test_a_store_that_is_fenced_says_so_to_all_who_ask(
    join: Join, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LOOK_S", 3600.0)
    a, b = join("a"), join("b")
    store = Store(a)
    rows(url, f"update writer set fenced = true where id = {a.writer} returning id")
    done: list[Any] = []
    store.hand_over({slot_at(a, 0): b.writer}, done.append)
    eventually(lambda: done)
    store.load_slots([0], done.append)
    eventually(lambda: len(done) == 2)
    assert [type(result) for result in done] == [StoreFailedError] * 2
    assert "has taken over from this one" in str(done[1])
    store.close()
