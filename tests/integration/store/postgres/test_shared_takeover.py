"""The living take over from the dead: all that they committed, and their slots, in one go."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.cluster import Cluster, rows
from tests.integration.store.postgres_world import (
    age,
    id_in,
    in_journal,
    judge,
    kill_shared,
    owners,
    put,
    slot_at,
    split,
    stop,
    wait_until_waiting,
)
from tests.support import eventually
from tests.unit.store.samples import row, settled
from understudy_store.changes import Changes
from understudy_store.engines.journaled.journal_records import encode
from understudy_store.engines.postgres import keeper, takeover
from understudy_store.engines.postgres.connections import Link
from understudy_store.engines.postgres.holdings import Look
from understudy_store.engines.postgres.keeper import Keeper
from understudy_store.engines.postgres.shared_engine import SharedPostgresEngine
from understudy_store.engines.postgres.takeover import bring_in
from understudy_store.engines.postgres.writer import LEASE_S
from understudy_store.errors import StoreError, StoreFencedError, StoreRolledBackError
from understudy_store.slots import SLOTS, shared_out

Join = Callable[..., SharedPostgresEngine]


@pytest.fixture
def sessions_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A takeover ends no session of the dead broker: the fence must do without."""
    monkeypatch.setattr(keeper, "end_sessions", lambda *_: None)


@pytest.fixture
def unseeing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No keeper looks but where a test has it do so."""
    monkeypatch.setattr(keeper, "LOOK_S", 3600.0)
    monkeypatch.setattr(keeper, "SOON_S", 3600.0)


def keeper_of(engine: SharedPostgresEngine) -> Keeper:
    made = engine.engine.keeper
    assert made is not None
    return made


def fenced(url: str, engine: SharedPostgresEngine) -> bool:
    [(is_fenced,)] = rows(url, "select fenced from writer where id = %s", engine.writer)
    return bool(is_fenced)


def take(engine: SharedPostgresEngine, *dead: SharedPostgresEngine) -> None:
    """Take over by hand, as the taker's thread does."""
    taker = keeper_of(engine)._taker
    try:
        writers = {each.writer: LEASE_S for each in dead}
        taker._link.run(lambda connection: taker._take(connection, writers))
    finally:
        taker._link.close()


@contextmanager
def commit_in_flight(
    url: str, engine: SharedPostgresEngine, number: int, changes: Changes
) -> Iterator[psycopg.Connection[Any]]:
    """A session that has sent a commit of `engine`; it is there once the connection commits."""
    inner = engine.engine
    base = url.partition("?")[0]
    with psycopg.connect(base, cursor_factory=psycopg.RawCursor) as connection:
        values = engine.writer, inner._log._session, number, encode(changes)
        assert connection.execute(inner._statements.commit, values).rowcount == 1
        yield connection


def test_the_living_take_over_from_a_broker_that_was_killed(join: Join, url: str) -> None:
    a, b, c = join("a"), join("b"), join("c")
    split(a, c)
    slot = slot_at(c, 0)
    id_ = id_in(slot)
    put(c, id_, now=99)
    version = a.holdings().version
    kill_shared(c, url)
    for engine in (a, b):
        judge(engine)
    eventually(lambda: c.writer not in a.holdings().slots)
    assert fenced(url, c)
    assert a.holdings().version == version + SLOTS // 2
    assert in_journal(url) == []
    places = shared_out(["a", "b"])
    for each in range(0, SLOTS, 2):
        assert a.holdings().slots[each] == (a.writer, b.writer)[places[each]]
    owner = (a, b)[places[slot]]
    eventually(lambda: owner.holdings().slots[slot] == owner.writer)
    loaded = owner.load_slots([slot])
    assert ([pending.id for pending in loaded.live], loaded.now) == ([id_], 99)
    owner.commit(Changes(100, updated=[settled(row(id_), 100)]), [], owner.writer)


def test_a_broker_that_beats_is_left_alone(join: Join, url: str) -> None:
    a, b = join("a"), join("b")
    split(a, b)
    judge(a)
    take(a, b)
    assert not fenced(url, b)
    put(b, id_in(slot_at(b, 0)))


def test_a_takeover_is_done_wholly_or_not_at_all(join: Join, url: str, unseeing: None) -> None:
    """Its last statement cannot be done; so nothing of it is: the fence, the journal, the slots."""
    a, b = join("a"), join("b")
    a.hand_over(dict.fromkeys(slots := a.holdings().of(a.writer)[:3], b.writer))
    keeper_of(b)._wake.set()
    id_ = id_in(slots[0])
    put(b, id_)
    kill_shared(b, url)
    with psycopg.connect(url.partition("?")[0]) as other:
        other.execute(f"set search_path to {url.partition('?schema=')[2]}".encode())
        other.execute("select 1 from slot where slot = %s for update", (slots[-1],))
        take(a, b)
        assert not fenced(url, b)
        assert in_journal(url) == [(b.writer, 1)]
        assert Counter(owners(url)) == {a.writer: SLOTS - 3, b.writer: 3}
    take(a, b)
    assert fenced(url, b)
    assert set(owners(url)) == {a.writer}
    assert rows(url, "select id from promise") == [(id_,)]


@pytest.mark.usefixtures("sessions_stay", "unseeing")
def test_a_takeover_sees_the_commit_that_it_waited_for(
    postgres: Cluster, join: Join, url: str
) -> None:
    """Nor may the slots be loaded before that."""
    a, b = join("a"), join("b")
    slots = a.holdings().of(a.writer)[::2]
    a.hand_over(dict.fromkeys(slots, b.writer))
    ids = [id_in(slots[0], beginning) for beginning in "xy"]
    put(b, ids[0])
    age(url, b.writer)
    changes = Changes(2, inserted=[row(ids[1])], updated=[settled(row(ids[0]))])
    with commit_in_flight(url, b, 2, changes) as connection:
        thread = threading.Thread(target=take, args=(a, b))
        thread.start()
        wait_until_waiting(postgres, a.engine._connector.application_name)
        with pytest.raises(StoreError, match="are not those of writer"):
            a.load_slots(slots)
        connection.commit()
        thread.join(10)
    take(a, b)
    loaded = a.load_slots(slots)
    assert [pending.id for pending in loaded.live] == [ids[1]]
    assert [each.promise.settled_at for each in a.find([ids[0]])] == [5]
    with pytest.raises(StoreFencedError):
        put(b, id_in(slots[0], "z"))
    assert in_journal(url) == []


@pytest.mark.usefixtures("sessions_stay", "unseeing")
def test_slots_cannot_be_loaded_while_they_are_taken_over(
    join: Join, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = join("a"), join("b")
    slots = a.holdings().of(a.writer)[::2]
    a.hand_over(dict.fromkeys(slots, b.writer))
    put(b, id_in(slots[0]))
    age(url, b.writer)
    give = takeover.give_orphans

    def looked_at(*args: Any) -> None:
        give(*args)
        with pytest.raises(StoreError, match="are not those of writer"):
            a.load_slots(slots)
        assert keeper_of(a)._seen(args[0])[0].holdings.of(a.writer)

    monkeypatch.setattr(keeper, "give_orphans", looked_at)
    take(a, b)
    assert [pending.id for pending in a.load_slots(slots).live] == [id_in(slots[0])]


@pytest.mark.usefixtures("unseeing")
def test_a_fenced_broker_takes_nothing_over(join: Join, url: str) -> None:
    """It was paused, and does not know. The slots that it took would stand still for ever."""
    a, b, c = join("a"), join("b"), join("c")
    a.hand_over(dict.fromkeys(a.holdings().of(a.writer)[:9], c.writer))
    kill_shared(c, url)
    # Its connection is there already, and was looked over.
    keeper_of(b)._taker._link.run(lambda _: None)
    rows(url, f"update writer set fenced = true where id = {b.writer} returning id")
    with pytest.raises(StoreFencedError):
        take(b, c)
    assert not fenced(url, c)
    assert Counter(owners(url)) == {a.writer: SLOTS - 9, c.writer: 9}
    take(a, c)
    assert set(owners(url)) == {a.writer}


@pytest.mark.usefixtures("unseeing")
def test_nobody_is_given_slots_who_is_fenced(join: Join, url: str) -> None:
    a, b, c = join("a"), join("b"), join("c")
    a.hand_over(dict.fromkeys(range(SLOTS), c.writer))
    kill_shared(c, url)
    rows(url, f"update writer set fenced = true where id = {b.writer} returning id")
    take(a, c)
    assert set(owners(url)) == {a.writer}


def test_slots_of_nobody_are_given_away(join: Join, url: str) -> None:
    a, b = join("a"), join("b")
    split(a, b)
    rows(url, "update slot set writer = null, epoch = epoch + 1 where slot < 9 returning slot")
    eventually(lambda: None not in owners(url))
    assert {owners(url)[slot] for slot in range(9)} <= {a.writer, b.writer}


def test_two_take_over_from_one_at_the_same_time(join: Join, url: str) -> None:
    a, b, c = join("a"), join("b"), join("c")
    version = a.hand_over(dict.fromkeys(range(SLOTS), c.writer)).version
    put(c, *[id_in(slot) for slot in range(20)])
    kill_shared(c, url)
    for engine in (a, b):
        judge(engine)
    eventually(lambda: {each.holdings().version for each in (a, b)} == {version + SLOTS})
    assert Counter(owners(url)) == {a.writer: SLOTS // 2, b.writer: SLOTS // 2}
    assert rows(url, "select count(*) from promise") == [(20,)]
    assert not fenced(url, a)
    assert not fenced(url, b)


# ---- those who may not judge --------------------------------------------------------------------


def test_a_broker_that_was_away_itself_judges_nobody_for_a_lease(
    join: Join, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was away for all, and so all pulses are old."""
    a, b = join("a"), join("b")
    split(a, b)
    judge(a)
    now = keeper.elapsed_s()
    after_s = 0.0
    monkeypatch.setattr(keeper, "elapsed_s", lambda: now + after_s)
    looks = seen_by(a, monkeypatch)
    monkeypatch.setattr(keeper_of(a), "_beaten_at", now - 0.6 * LEASE_S)
    # From its next look on it judges nobody, and only then is there somebody to judge.
    eventually(lambda: keeper_of(a)._judges_from > now)
    keeper_of(b).close()
    age(url, b.writer)
    until = len(looks) + 5
    eventually(lambda: len(looks) > until)
    assert not fenced(url, b)
    after_s = 1.1 * LEASE_S
    monkeypatch.setattr(keeper_of(a), "_beaten_at", now + after_s)
    eventually(lambda: fenced(url, b))


def seen_by(engine: SharedPostgresEngine, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The looks of a broker from now on."""
    looks: list[object] = []
    made = keeper_of(engine)
    judged = made._judge

    def seen(look: Look, gone: Collection[int], now: float) -> None:
        judged(look, gone, now)
        looks.append(look)

    monkeypatch.setattr(made, "_judge", seen)
    return looks


def test_a_broker_that_has_just_begun_judges_nobody_for_a_lease(
    join: Join, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = join("a"), join("b")
    keeper_of(b).close()
    age(url, b.writer)
    looks = seen_by(a, monkeypatch)
    eventually(lambda: len(looks) > 5)
    assert not fenced(url, b)
    judge(a)
    eventually(lambda: fenced(url, b))


def test_a_fenced_broker_learns_it_by_its_keeper(join: Join, url: str) -> None:
    a = join("a")
    failed: list[StoreError] = []
    a.watch(failed.append)
    rows(url, f"update writer set fenced = true where id = {a.writer} returning id")
    eventually(lambda: failed)
    assert isinstance(failed[0], StoreFencedError)


def test_a_database_that_lost_who_owns_what_is_noticed(join: Join, url: str) -> None:
    a, b = join("a"), join("b")
    split(a, b)
    failed: list[StoreError] = []
    a.watch(failed.append)
    rows(url, f"update slot set writer = {a.writer}, epoch = 1 returning slot")
    eventually(lambda: failed)
    assert isinstance(failed[0], StoreRolledBackError)
    assert "has lost who owns which slots" in str(failed[0])


# ---- trouble during a takeover ------------------------------------------------------------------


def test_a_broker_beats_while_it_takes_over(
    join: Join, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take longer than a lease, and it would be taken over from itself."""
    a, b = join("a"), join("b")
    split(a, b)
    begun, go = threading.Event(), threading.Event()

    def waited(*args: Any) -> None:
        begun.set()
        assert go.wait(30)
        bring_in(*args)

    monkeypatch.setattr(keeper, "bring_in", waited)
    kill_shared(b, url)
    judge(a)
    assert begun.wait(10)
    query = "select seen_at from pulse where writer = %s"
    before = rows(url, query, a.writer)
    eventually(lambda: rows(url, query, a.writer) != before)
    put(a, id_in(slot_at(a, 0)))
    go.set()
    eventually(lambda: set(owners(url)) == {a.writer})


@pytest.mark.parametrize("is_done", [True, False])
def test_a_connection_that_is_lost_during_a_takeover(
    is_done: bool, join: Join, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = join("a"), join("b")
    split(a, b)
    put(b, id_in(slot_at(b, 0)))
    attempts: list[int] = []
    taker = keeper_of(a)._taker
    take_over, take = taker._take_over, taker._take

    def lost(*args: Any) -> None:
        take_over(*args)
        attempts.append(1)
        if len(attempts) == 1 and not is_done:
            raise psycopg.OperationalError("the connection was lost")

    def answer_lost(*args: Any, **more: Any) -> None:
        take(*args, **more)
        if len(attempts) == 1 and is_done:
            raise psycopg.OperationalError("the answer was lost")

    monkeypatch.setattr(taker, "_take_over", lost)
    monkeypatch.setattr(taker, "_take", answer_lost)
    monkeypatch.setattr(Link, "_is_lost", lambda *_: True)
    version = a.holdings().version
    kill_shared(b, url)
    judge(a)
    eventually(lambda: len(attempts) > 1 and set(owners(url)) == {a.writer})
    eventually(lambda: a.holdings().version == version + SLOTS // 2)
    assert rows(url, "select count(*) from promise") == [(1,)]
    put(a, id_in(slot_at(a, 0), "z"))


def test_a_damaged_journal_stops_only_its_own_slots(join: Join, url: str) -> None:
    told: list[str] = []
    a, b = join("a", told.append), join("b")
    split(a, b)
    for beginning in "xyz":
        put(b, id_in(slot_at(b, 0), beginning))
    rows(url, "delete from journal where number = 2 returning number")
    kill_shared(b, url)
    judge(a)
    eventually(lambda: any("lacks commit 2 of writer" in text for text in told))
    put(a, id_in(slot_at(a, 0)))
    assert not fenced(url, b)
    assert owners(url).count(b.writer) == SLOTS // 2


# ---- sooner than the lease ----------------------------------------------------------------------


def test_a_broker_whose_sessions_are_all_gone_is_taken_over_from_when_it_is_suspected(
    join: Join, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = join("a"), join("b")
    split(a, b)
    looks = seen_by(a, monkeypatch)
    monkeypatch.setattr(keeper_of(a), "_judges_from", 0.0)
    eventually(lambda: b.writer in keeper_of(a)._visible)
    stop(b.engine)
    until = len(looks) + 2
    eventually(lambda: len(looks) > until)
    assert not fenced(url, b), "nobody suspects it, and its pulse is young"
    a.suspect(b.writer)
    eventually(lambda: fenced(url, b), LEASE_S / 2)
    assert {*owners(url)} == {a.writer}


def test_a_suspect_that_has_sessions_or_was_never_seen_keeps_its_lease(
    join: Join, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = join("a"), join("b")
    looks = seen_by(a, monkeypatch)
    monkeypatch.setattr(keeper_of(a), "_judges_from", 0.0)
    a.suspect(b.writer)
    until = len(looks) + 5
    eventually(lambda: len(looks) > until)
    assert not fenced(url, b)
    a.trust(b.writer)
    # As if its sessions were another role's, which show no name.
    monkeypatch.setattr(
        keeper_of(a)._statements, "sessions", "select '' where %(names)s::text[] is null"
    )
    keeper_of(a)._visible.clear()
    a.suspect(b.writer)
    until = len(looks) + 5
    eventually(lambda: len(looks) > until)
    assert not fenced(url, b)
