"""Flow control: a peer that asks for much at once gets all of it, a bounded part at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.broker.core.rig import Rig
from understudy_broker.protocol.messages import Bye, PromiseWatch, Refused, Response
from understudy_store.commands import PromiseCreate, PromiseGet, PromiseSearch, PromiseSettle
from understudy_store.records import Value

C, D = b"peer-c", b"peer-d"
SIZE = 10_000
#: The reply budget of a peer is a quarter of this: five replies.
OUTGOING_BYTES_MAX = 4 * 5 * SIZE


@pytest.fixture
def rig() -> Rig:
    """Clients `c` and `d`, and a settled promise `p` with a large value."""
    rig = Rig(outgoing_bytes_max=OUTGOING_BYTES_MAX)
    for peer, name in ((C, "c"), (D, "d")):
        rig.join(peer, name, kind="client")
    rig.create(C, "p", target=None)
    settle(rig, "p")
    return rig


def settle(rig: Rig, id_: str) -> None:
    rig.reply(C, PromiseSettle(id_, "resolved", Value({}, b"v" * SIZE)))


def step(rig: Rig) -> int:
    """Make one step and commit it; returns the number of answers that `c` got."""
    if rig.step().batch is not None:
        rig.commit()
    return len(rig.take(C, Response))


def test_a_batch_replies_up_to_the_budget_and_the_next_one_goes_on(rig: Rig) -> None:
    corrs = [rig.ask(C, PromiseGet("p")) for _ in range(12)]
    counts = [step(rig), step(rig), step(rig)]
    assert counts == [5, 5, 2]
    more = [rig.ask(C, PromiseGet("p")) for _ in range(12)]
    rig.turn()
    assert [answer.corr for answer in rig.take(C, Response)] == more
    assert corrs < more
    assert rig.core.flow.budget.deferred == {}


def test_a_slow_peer_waits_and_others_do_not(rig: Rig) -> None:
    corrs = [rig.ask(C, PromiseGet("p")) for _ in range(7)]
    rig.slow.add(C)
    for _ in range(4):
        corrs.append(rig.ask(C, PromiseGet("p")))
        rig.turn()
        assert rig.reply(D, PromiseGet("p")).ok
    assert [answer.corr for answer in rig.take(C, Response)] == corrs[:5]
    rig.slow.clear()
    rig.turn()
    assert [answer.corr for answer in rig.take(C, Response)] == corrs[5:]


def test_the_bound_holds_over_many_small_batches(rig: Rig) -> None:
    rig.slow.add(C)
    for _ in range(9):
        rig.ask(C, PromiseGet("p"))
        rig.turn()
    assert len(rig.take(C, Response)) == 5


def test_while_a_batch_commits_no_more_is_owed_than_the_bound(rig: Rig) -> None:
    for number in range(4):
        rig.ask(C, PromiseGet("p"))
        rig.ask(C, PromiseCreate(f"q{number}", rig.now + 9_000))
    assert rig.step().batch is not None
    corrs = [rig.ask(C, PromiseGet("p")) for _ in range(6)]
    for _ in range(3):
        rig.step()
    rig.commit()
    assert len(rig.take(C, Response)) == 8
    # One of them waited for its commit, and leaves room for four.
    counts = [step(rig), step(rig)]
    assert counts == [5, 1]
    assert sum(counts) == len(corrs)


def test_requests_that_are_put_off_keep_their_place_and_are_performed(rig: Rig) -> None:
    rig.slow.add(C)
    for _ in range(6):
        rig.ask(C, PromiseGet("p"))
    created = rig.ask(C, PromiseCreate("q", rig.now + 9_000))
    rig.turn()
    got = rig.ask(C, PromiseGet("q"))
    rig.turn()
    assert len(rig.take(C, Response)) == 5
    rig.slow.clear()
    rig.turn()
    last = rig.take(C, Response)
    assert [answer.corr for answer in last] == [created - 1, created, got]
    assert [answer.reply.status for answer in last] == [200, 201, 200]


def test_a_goodbye_waits_for_earlier_requests(rig: Rig) -> None:
    rig.slow.add(C)
    for _ in range(6):
        rig.ask(C, PromiseGet("p"))
    rig.ask(C, PromiseCreate("q", rig.now + 9_000))
    rig.turn()
    rig.send(C, Bye())
    rig.turn()
    assert rig.take(C, Bye) == []
    assert rig.reply(D, PromiseGet("q")).status == 404
    rig.slow.clear()
    rig.turn()
    assert rig.one(C, Bye) == Bye()
    assert rig.reply(D, PromiseGet("q")).status == 200


def test_deferred_requests_still_count_as_unanswered() -> None:
    rig = Rig(outgoing_bytes_max=OUTGOING_BYTES_MAX, inflight_bytes_max=100_000)
    rig.join(C, "c", kind="client")
    rig.slow.add(C)
    payload = Value({}, b"x" * SIZE)
    refused = 0
    for number in range(30):
        rig.ask(C, PromiseCreate(f"p{number}", rig.now + 9_000, payload))
        rig.turn()
        refused += len(rig.take(C, Refused))
    # Five are answered, and ten wait.
    assert len(rig.take(C, Response)) == 5
    assert refused == 30 - 5 - 10
    rig.slow.clear()
    rig.turn()
    assert len(rig.take(C, Response)) == 10
    session = rig.core.sessions.by_peer.get(C)
    assert session is not None
    assert (session.inflight, session.inflight_bytes) == (0, 0)


def test_requests_of_a_lost_peer_are_performed_and_forgotten(rig: Rig) -> None:
    for _ in range(12):
        rig.ask(C, PromiseGet("p"))
    rig.ask(C, PromiseCreate("q", rig.now + 9_000))
    rig.step()
    rig.core.connection_lost(C, rig.now)
    rig.turn()
    assert rig.core.flow.budget.deferred == {}
    assert rig.core.flow.budget.sent == {}
    assert rig.reply(D, PromiseGet("q")).ok


@pytest.mark.parametrize("asked", [PromiseGet, lambda id_: PromiseWatch((id_,))])
def test_history_is_loaded_a_bounded_part_at_a_time(
    rig: Rig, asked: Callable[[str], PromiseGet | PromiseWatch]
) -> None:
    ids = [f"h{number}" for number in range(20)]
    for id_ in ids:
        rig.create(C, id_, target=None)
        rig.reply(C, PromiseSettle(id_, "resolved"))
    corrs = [rig.ask(C, asked(id_)) for id_ in ids]
    corrs.append(rig.ask(D, PromiseGet("h0")))
    rig.lookups.clear()
    while sum(map(len, rig.lookups)) < len(corrs):
        assert rig.step().batch is None
    assert list(map(len, rig.lookups)) == [8, 8, 5]
    assert [answer.corr for answer in rig.take(C, Response)] == corrs[:20]
    assert rig.one(D, Response).corr == corrs[20]
    for peer in (C, D):
        session = rig.core.sessions.by_peer.get(peer)
        assert session is not None
        assert (session.inflight, session.inflight_bytes) == (0, 0)


def test_promises_created_in_the_same_batch_are_not_loaded(rig: Rig) -> None:
    for number in range(30):
        rig.ask(C, PromiseCreate(f"q{number}", rig.now + 9_000))
        rig.ask(C, PromiseWatch((f"q{number}",)))
    assert step(rig) == 60


def test_a_watch_of_more_than_the_bound_is_refused_and_each_alone_is_not(rig: Rig) -> None:
    ids = tuple(f"w{number}" for number in range(8))
    for id_ in ids:
        rig.create(C, id_, target=None)
        settle(rig, id_)
    assert rig.reply(C, PromiseWatch(ids)).status == 413
    corrs = [rig.ask(C, PromiseWatch((id_,))) for id_ in ids]
    rig.turn()
    assert [answer.corr for answer in rig.take(C, Response)] == corrs


def test_a_peer_that_takes_no_pages_gets_no_more_of_them(rig: Rig) -> None:
    """Nor does it hold up the searches of others, or its own other requests."""
    for number in range(8):
        rig.create(C, f"p{number}", target=None)
        settle(rig, f"p{number}")
    rig.slow.add(C)
    corrs = [rig.ask(C, PromiseSearch(prefix="p")) for _ in range(3)]
    other = rig.ask(D, PromiseSearch(prefix="p"))
    rig.turn()
    assert [answer.corr for answer in rig.take(D, Response)] == [other]
    taken = [answer.corr for answer in rig.take(C, Response)]
    assert taken == corrs[: len(taken)]
    assert 0 < len(taken) < 3
    rig.slow.clear()
    rig.turn()
    assert [answer.corr for answer in rig.take(C, Response)] == corrs[len(taken) :]
