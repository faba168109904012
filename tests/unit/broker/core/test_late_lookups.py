"""A store that answers lookups later: order stays, sessions go on, nothing is told uncommitted.

The rows may arrive at any time, or at once; commits end at any time. Whatever the times, each peer
must be told the same as by a store that answers at once.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pytest

from tests.unit.broker.core.rig import Rig, hello
from understudy_broker.protocol.messages import (
    AnyCommand,
    Beat,
    Bye,
    Invoke,
    PromiseWatch,
    Request,
    Response,
    Settled,
    ToPeer,
    Welcome,
)
from understudy_store.commands import (
    PromiseCreate,
    PromiseGet,
    PromiseSettle,
    ScheduleCreate,
    TaskFulfill,
)
from understudy_store.records import TAG_TARGET, PromiseRecord, Row, Value, pid_of

A, B, C = b"peer-a", b"peer-b", b"peer-c"


class LateRig(Rig):
    """A rig whose store answers lookups when the test says so."""

    def __init__(self, **config: int) -> None:
        super().__init__(**config)  # type: ignore[arg-type]
        #: ids of the lookup that is under way
        self.wanted: set[str] | None = None
        self.late = False
        self.late_lookups = 0

    def find(self, ids: set[str]) -> list[Row] | None:
        assert self.wanted is None, "one lookup at a time"
        if not self.late:
            return super().find(ids)
        self.wanted = ids
        self.late_lookups += 1
        return None

    def deliver(self, frames: Sequence[tuple[bytes, bytes]]) -> None:
        """Check that all that is told has been committed."""
        before = len(self.sent)
        super().deliver(frames)
        for _, messages in self.sent[before:]:
            for told in promises_in(messages):
                [row] = self.engine.find([told.id])
                # it may have settled since, in the same batch
                assert told.state in (row.promise.state, "pending")

    def answer(self) -> None:
        """The rows arrive."""
        assert self.wanted is not None
        ids, self.wanted = self.wanted, None
        self.core.found(self.engine.find(ids))

    def settle(self) -> None:
        """Answer and commit, until nothing is due."""
        for _ in range(200):
            if self.wanted is not None:
                self.answer()
            if self.batch is not None:
                self.commit()
            step = self.step()
            if self.wanted is None and self.batch is None and not step.frames:
                return
        raise AssertionError("the core is never done")


def promises_in(messages: Sequence[ToPeer]) -> Iterator[PromiseRecord]:
    """The promises that a peer is told of in these messages."""
    for message in messages:
        if isinstance(message, Settled):
            yield from message.promises
        elif isinstance(message, Invoke):
            yield message.promise
        elif isinstance(message, Response):
            if message.reply.promise is not None:
                yield message.reply.promise
            yield from message.reply.promises or ()


@pytest.fixture
def rig() -> LateRig:
    """A node and a client; a promise `old` that is history."""
    rig = LateRig()
    rig.join(A, "a", credit=5)
    rig.join(C, "c", kind="client")
    rig.create(C, "old", target=None)
    rig.reply(C, PromiseSettle("old", "resolved", Value({}, b"v")))
    rig.late = True
    return rig


def test_requests_wait_for_their_rows_and_are_answered_in_order(rig: LateRig) -> None:
    corrs = [rig.ask(C, PromiseGet("old"))]
    assert rig.step().batch is None
    assert rig.wanted == {"old"}
    corrs.append(rig.ask(C, PromiseCreate("new", rig.now + 9_000)))
    assert rig.step().batch is None
    assert rig.take(C, Response) == []
    rig.settle()
    replies = rig.take(C, Response)
    assert [reply.corr for reply in replies] == corrs
    assert [reply.reply.status for reply in replies] == [200, 201]


def test_peers_join_and_leave_and_heartbeats_are_answered_meanwhile(rig: LateRig) -> None:
    rig.ask(C, PromiseGet("old"))
    rig.step()
    rig.send(B, hello("b"))
    rig.send(A, Beat())
    rig.step()
    assert rig.one(B, Welcome).pid == pid_of("b", "1")
    assert rig.one(A, Beat) == Beat()
    rig.core.connection_lost(B, rig.now)
    rig.step()
    assert rig.core.sessions.by_name.get("b") is None
    assert rig.wanted is not None


def test_leases_are_kept_and_lapse_while_a_lookup_is_under_way(rig: LateRig) -> None:
    rig.ask(C, PromiseGet("old"))
    rig.step()
    for _ in range(20):
        rig.now += 1_000
        rig.send(C, Beat())
        rig.step()
    assert rig.core.sessions.by_name.get("c") is not None
    assert rig.core.sessions.by_name.get("a") is None
    assert rig.core.metrics.leases_lapsed == 1


def test_a_batch_under_way_is_committed_during_a_lookup(rig: LateRig) -> None:
    rig.late = False
    created = rig.ask(C, PromiseCreate("p", rig.now + 9_000, Value({}), {TAG_TARGET: "g"}))
    assert rig.step().batch is not None
    rig.late = True
    asked = rig.ask(C, PromiseGet("old"))
    rig.step()
    rig.commit()
    assert rig.one(A, Invoke).promise.id == "p"
    assert rig.one(C, Response).corr == created
    rig.settle()
    assert rig.one(C, Response).corr == asked


def test_a_core_that_waits_for_rows_is_due_for_its_peers_only(rig: LateRig) -> None:
    rig.ask(C, PromiseGet("old"))
    rig.step()
    rig.ask(C, PromiseGet("old"))
    due_at = rig.step().due_at
    assert due_at is not None
    assert due_at > rig.now


def test_a_goodbye_waits_for_earlier_requests(rig: LateRig) -> None:
    rig.send(C, Request(1, PromiseGet("old")), Bye())
    rig.step()
    rig.step()
    assert rig.take(C, Bye) == []
    rig.settle()
    assert rig.one(C, Bye) == Bye()


def test_a_session_that_ended_during_the_lookup_is_told_nothing(rig: LateRig) -> None:
    rig.ask(C, PromiseCreate("new", rig.now + 9_000))
    rig.step()
    rig.core.connection_lost(C, rig.now)
    rig.settle()
    assert rig.take(C, Response) == []
    assert [row.promise.id for row in rig.engine.find(["new"])] == ["new"]


def test_schedules_that_come_due_during_a_lookup_wait_for_their_own(rig: LateRig) -> None:
    """Their promises may be in the store already: that has to be looked up first."""
    rig.late = False
    schedule = ScheduleCreate("s", "* * * * *", "s.{timestamp}", 5_000, Value({}), {})
    reply = rig.reply(C, schedule)
    assert reply.schedule is not None
    due_at = reply.schedule.next_run_at
    rig.late = True
    rig.now = due_at - 1
    rig.settle()
    rig.ask(C, PromiseGet("old"))
    rig.step()
    rig.now = due_at
    rig.answer()
    rig.step()
    assert rig.machine.view.record(f"s.{due_at}") is None
    rig.step()
    assert rig.wanted == {f"s.{due_at}"}
    rig.answer()
    rig.step()
    assert rig.machine.view.record(f"s.{due_at}") is not None


class Requests:
    """Random requests of two clients, the same for each seed."""

    def __init__(self, seed: int, rig: LateRig) -> None:
        self.chance = random.Random(seed)
        self.rig = rig
        self.deadline = rig.now + 10_000_000

    def ask(self) -> None:
        chance = self.chance
        id_, peer = f"p{chance.randrange(12)}", chance.choice((B, C))
        commands: list[AnyCommand] = [
            PromiseCreate(id_, self.deadline, Value({}, b"x"), {TAG_TARGET: "g"}),
            PromiseCreate(f"{id_}.local", self.deadline),
            PromiseSettle(f"{id_}.local", "resolved"),
            PromiseGet(chance.choice((id_, f"{id_}.local"))),
            PromiseWatch((id_,)),
        ]
        self.rig.ask(peer, chance.choice(commands))


def play(seed: int, *, late: bool) -> LateRig:
    """Make the requests of a seed; rows and commits come at arbitrary times if `late`."""
    rig = LateRig()
    rig.join(A, "a", credit=1_000)
    for peer, name in ((B, "b"), (C, "c")):
        rig.join(peer, name, kind="client", group="callers")
    rig.late = late
    requests = Requests(seed, rig)
    times = random.Random(seed)
    for _ in range(60):
        requests.ask()
        if not late:
            rig.turn()
            continue
        rig.send(A, Beat())
        rig.step()
        # A heartbeat is answered in the step after it, whatever the store does.
        assert rig.one(A, Beat) == Beat()
        if rig.wanted is not None and times.random() < 0.3:
            rig.answer()
        if rig.batch is not None and times.random() < 0.3:
            rig.commit()
    rig.settle()
    for invoke in rig.take(A, Invoke):
        rig.ask(A, TaskFulfill(invoke.promise.id, 1, "resolved", Value({}, b"y")))
    rig.settle()
    return rig


@pytest.mark.parametrize("seed", range(40))
def test_whenever_the_store_answers_each_peer_is_told_the_same(seed: int) -> None:
    late, prompt = play(seed, late=True), play(seed, late=False)
    assert late.late_lookups > 3
    for peer in (A, B, C):
        assert late.take(peer, Response) == prompt.take(peer, Response)
        assert settled_of(late, peer) == settled_of(prompt, peer)


def settled_of(rig: Rig, peer: bytes) -> set[tuple[str, str]]:
    """Promises of whose settlement the peer was told."""
    told = rig.take(peer, Settled)
    return {(promise.id, promise.state) for each in told for promise in each.promises}


def test_the_date_of_schedules_does_not_change_during_a_lookup(rig: LateRig) -> None:
    """The sweep would make promises whose rows were not looked up."""
    rig.ask(C, PromiseGet("old"))
    rig.step()
    rig.core.follow(-3_600_000)
    rig.step()
    assert rig.machine.state.ahead == 0
    rig.answer()
    rig.step()
    assert rig.machine.state.ahead == 0
    rig.settle()
    assert rig.machine.state.ahead == -3_600_000


def test_schedules_follow_the_date_in_the_next_step() -> None:
    rig = LateRig()
    rig.join(C, "c", kind="client")
    rig.reply(C, ScheduleCreate("s", "0 * * * *", "s!{timestamp}", 9_000_000))
    rig.core.follow(-3_600_000)
    rig.turn()
    hour = 3_600_000
    assert [each.id for each in rig.machine.view.records()] == [f"s!{hour}"]
    assert rig.machine.state.schedules["s"].next_run_at == 2 * hour
