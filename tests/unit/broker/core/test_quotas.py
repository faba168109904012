"""Quotas: an identity has what its limits permit, and its flood takes nothing from the others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.broker.core.rig import Rig, hello
from understudy_broker.core.authorization import stamped
from understudy_broker.core.function_schemas import NODE_BYTES_MAX
from understudy_broker.core.lanes import TURN, Lanes
from understudy_broker.core.quotas import AGAIN_MS, WORK_BURST, WORK_MORE, Bucket, Quotas
from understudy_broker.core.request_queue import COMMANDS_MAX
from understudy_broker.core.sessions import Session
from understudy_broker.keys.grants import EVERYTHING, Grant
from understudy_broker.keys.quota import Quota
from understudy_broker.protocol.frames import encode
from understudy_broker.protocol.messages import (
    Ack,
    Attach,
    Bye,
    Credit,
    Delegated,
    Functions,
    GroupsGet,
    Invoke,
    PromiseCreateWatched,
    PromiseWatch,
    Refused,
    Request,
    Response,
)
from understudy_store.commands import (
    PromiseCreate,
    PromiseGet,
    PromiseSettle,
    ScheduleCreate,
    ScheduleDelete,
    SchedulePut,
    ScheduleTrigger,
    TaskFence,
    TaskFulfill,
)
from understudy_store.machine import Machine, MachineConfig
from understudy_store.records import TAG_TARGET, Value

A, B, N = b"peer-a", b"peer-b", b"peer-n"
LATER = 9_000_000


def rig_of(quota: Quota, rig: Rig | None = None, **more: Any) -> Rig:
    """Two clients, one of an identity with limits, and a node of that identity."""
    grants = {"a": EVERYTHING._replace(limits=quota), "b": EVERYTHING}
    rig = Rig(None if rig is None else rig.engine, grant_of=grants.get, **more)
    rig.core.sessions.identity_of = {A: "a", B: "b", N: "a"}.get
    rig.join(A, "a", kind="client")
    rig.join(B, "b", kind="client")
    rig.join(N, "n", credit=100)
    return rig


def tried(rig: Rig, peer: bytes, command: Any) -> str:
    """Ask; return what was refused for now, or an empty text."""
    corr = rig.ask(peer, command)
    rig.turn()
    refused = rig.take(peer, Refused)
    if not refused:
        assert [each.corr for each in rig.take(peer, Response)] == [corr]
        return ""
    assert (refused[0].status, refused[0].corr, refused[0].fatal) == (429, corr, False)
    assert refused[0].retry_after_ms is not None
    return refused[0].error


def test_what_comes_too_fast_is_told_when_to_come_again() -> None:
    rig = rig_of(Quota(commands=10, burst=3))
    assert [bool(tried(rig, A, PromiseGet("p"))) for _ in range(5)] == [False] * 3 + [True] * 2
    assert not tried(rig, B, PromiseGet("p"))
    rig.ask(A, PromiseGet("p"))
    rig.turn()
    wait_ms = rig.one(A, Refused).retry_after_ms
    assert wait_ms is not None
    assert 0 < wait_ms <= 100
    rig.now += wait_ms
    assert not tried(rig, A, PromiseGet("p"))
    assert "sends more than its limit" in tried(rig, A, PromiseGet("p"))


def test_who_was_refused_lately_is_told_to_itself_and_to_operators() -> None:
    grants = {
        "a": Grant(ids=EVERYTHING.ids, limits=Quota(pending=1)),
        "b": EVERYTHING._replace(admin=frozenset()),
        "c": EVERYTHING,
    }
    rig = Rig(grant_of=grants.get)
    rig.core.sessions.identity_of = {A: "a", B: "b", N: "c"}.get
    for peer, name in ((A, "a"), (B, "b"), (N, "c")):
        rig.join(peer, name, kind="client")

    def limited(peer: bytes) -> list[tuple[str, str, int]]:
        corr = rig.ask(peer, GroupsGet())
        rig.turn()
        [report] = [each.report for each in rig.take(peer, Response) if each.corr == corr]
        assert report is not None
        return list(report.limited)

    assert limited(N) == []
    rig.create(A, "p", None)
    text = tried(rig, A, PromiseCreate("q", LATER))
    rig.now += 1500
    [(identity, told, ago_ms)] = limited(N)
    assert identity == "a"
    assert text.endswith(told)
    assert ago_ms >= 1500
    assert [each[0] for each in limited(A)] == ["a"]
    assert limited(B) == []
    rig.now += 60_000
    assert limited(N) == []


def test_all_connections_of_an_identity_share_its_rate_and_fences_count_each_command() -> None:
    rig = rig_of(Quota(commands=10))
    rig.create(A, "p")
    assert rig.one(N, Invoke).promise.id == "p"
    inner = tuple(PromiseCreate(f"p.{n}", LATER) for n in range(20))
    assert not tried(rig, N, TaskFence("p", 1, inner))
    assert tried(rig, A, PromiseGet("p"))
    rig.now += 1_000
    assert tried(rig, A, PromiseGet("p")), "what was taken beyond the bucket is paid for"
    rig.now += 1_000
    assert not tried(rig, A, PromiseGet("p"))


def test_bytes_are_limited_as_well() -> None:
    rig = rig_of(Quota(bytes=1_000))
    assert not tried(rig, A, PromiseCreate("p1", LATER, Value({}, b"x" * 3_000)))
    assert tried(rig, A, PromiseGet("p1"))
    rig.now += 3_000
    assert not tried(rig, A, PromiseGet("p1"))


def test_a_request_for_another_counts_as_that_others() -> None:
    rig = rig_of(Quota(commands=10, burst=1))
    rig.core.sessions.identity_of = {b"e": "b"}.get
    rig.join(b"e", "e", kind="edge")
    assert not tried(rig, b"e", Delegated("a", PromiseGet("p")))
    assert tried(rig, b"e", Delegated("a", PromiseGet("p")))
    assert not tried(rig, b"e", PromiseGet("p"))


def test_pending_promises_are_limited_until_some_have_settled() -> None:
    rig = rig_of(Quota(pending=2))
    create = [PromiseCreate(f"p{n}", LATER) for n in range(4)]
    assert not tried(rig, A, create[0])
    assert not tried(rig, A, PromiseCreateWatched(create[1]))
    text = tried(rig, A, create[2])
    assert text == "'a' has reached its limit of 2 pending promises"
    assert not tried(rig, B, PromiseCreate("q", LATER))
    assert not tried(rig, A, PromiseSettle("p0", "resolved"))
    assert not tried(rig, A, create[2])
    assert tried(rig, A, PromiseCreateWatched(create[3]))
    rig.now = LATER
    rig.turn()
    assert not tried(rig, A, PromiseCreate("p9", 2 * LATER)), "a deadline settles, too"


def test_requests_of_one_frame_do_not_pass_together_what_they_may_not_one_by_one() -> None:
    rig = rig_of(Quota(pending=3))
    rig.send(A, *(Request(n, PromiseCreate(f"p{n}", LATER)) for n in range(1, 10)))
    rig.turn()
    assert [each.corr for each in rig.take(A, Refused)] == [4, 5, 6, 7, 8, 9]


def test_stored_bytes_are_limited() -> None:
    rig = rig_of(Quota(stored=100))
    assert not tried(rig, A, PromiseCreate("p1", LATER, Value({}, b"x" * 60)))
    assert "bytes in the arguments" in tried(
        rig, A, PromiseCreate("p2", LATER, Value({}, b"x" * 41))
    )
    assert not tried(rig, A, PromiseCreate("p2", LATER, Value({}, b"x" * 40)))
    assert not tried(rig, A, PromiseSettle("p1", "resolved"))
    assert not tried(rig, A, PromiseCreate("p3", LATER, Value({}, b"x" * 60)))


def test_after_a_start_what_is_stored_counts() -> None:
    before = rig_of(Quota(pending=2, schedules=1))
    assert not tried(before, A, PromiseCreate("p1", LATER))
    assert not tried(before, A, PromiseCreate("p2", LATER))
    assert not tried(before, A, ScheduleCreate("s1", "0 0 1 1 *", "x{timestamp}", 1))
    rig = rig_of(Quota(pending=2, schedules=1), before)
    assert tried(rig, A, PromiseCreate("p3", LATER))
    assert tried(rig, A, ScheduleCreate("s2", "0 0 1 1 *", "x{timestamp}", 1))
    assert not tried(rig, A, PromiseSettle("p1", "resolved"))
    assert not tried(rig, A, PromiseCreate("p3", LATER))


def test_what_is_in_no_batch_yet_counts_once_when_all_is_counted_anew() -> None:
    """As when slots come or go while a batch is being committed."""
    machine = Machine(MachineConfig())
    quotas = Quotas({"a": EVERYTHING._replace(limits=Quota(pending=3))}.get, machine.view)

    def create(id_: str) -> str | None:
        command: Any = stamped(PromiseCreate(id_, LATER), "a")
        text = quotas.refusal("a", command)
        if text is None:
            machine.apply(command, 1)
        return text

    assert create("p1") is None
    quotas.count_anew()
    assert create("p2") is None
    quotas.take(machine.take())
    assert create("p3") is None
    quotas.take(machine.take())
    assert create("p4") is not None


def test_what_is_created_again_does_not_count_twice() -> None:
    rig = rig_of(Quota(pending=2))
    for _ in range(2):
        assert not tried(rig, A, PromiseCreate("p1", LATER))
    assert not tried(rig, A, PromiseCreate("p2", LATER))
    assert tried(rig, A, PromiseCreate("p3", LATER))


def test_a_fence_beyond_the_limit_goes_back_whole_as_a_reply() -> None:
    """Its sender gives the task back. What it has sent after the fence must not be performed."""
    rig = rig_of(Quota(pending=2, stored=10))
    rig.create(A, "p")
    rig.one(N, Invoke)
    inner = tuple(PromiseCreate(f"p.{n}", LATER) for n in range(4))
    reply = rig.reply(N, TaskFence("p", 1, inner))
    assert (reply.status, "of 4 pending promises" in (reply.error or "")) == (429, True)
    large = PromiseCreate("p.9", LATER, Value({}, b"x" * 20))
    assert "of 20 bytes" in (rig.reply(N, TaskFence("p", 1, (large,))).error or "")
    assert rig.reply(N, TaskFence("p", 1, inner[:3])).ok
    assert tried(rig, A, PromiseCreate("q", LATER))
    assert rig.reply(N, TaskFulfill("p", 1, "resolved")).ok


def test_schedules_watches_and_connections_are_limited() -> None:
    rig = rig_of(Quota(schedules=1, watches=2, connections=3))
    assert not tried(rig, A, ScheduleCreate("s1", "0 0 1 1 *", "x{timestamp}", 1))
    assert "1 schedules" in tried(rig, A, ScheduleCreate("s2", "0 0 1 1 *", "x{timestamp}", 1))
    assert not tried(rig, A, ScheduleCreate("s1", "0 0 1 1 *", "x{timestamp}", 1))
    assert not tried(rig, A, ScheduleDelete("s1"))
    assert not tried(rig, A, ScheduleCreate("s2", "0 0 1 1 *", "x{timestamp}", 1))
    for n in range(3):
        rig.create(B, f"p{n}", None)
    assert not tried(rig, A, PromiseWatch(("p0",)))
    assert not tried(rig, N, PromiseWatch(("p1",)))
    assert "2 watched promises" in tried(rig, A, PromiseWatch(("p2",)))
    rig.core.sessions.identity_of = {b"1": "a", b"2": "a", b"3": "b"}.get
    rig.join(b"1", "c1", kind="client")
    rig.send(b"2", hello("c2", kind="client"))
    rig.turn()
    assert "3 connections" in rig.one(b"2", Refused).error
    rig.join(b"3", "c3", kind="client")


def test_calls_of_schedules_that_are_asked_for_count() -> None:
    rig = rig_of(Quota(pending=1, schedules=1))
    put = SchedulePut("s1", "0 0 1 1 *", "x{timestamp}", 10_000, replace=True)
    assert not tried(rig, A, put)
    assert not tried(rig, A, ScheduleTrigger("s1", 1))
    assert "1 pending promises" in tried(rig, A, ScheduleTrigger("s1", 3))
    assert not tried(rig, A, put)
    assert "1 schedules" in tried(rig, A, SchedulePut("s2", "0 0 1 1 *", "x{timestamp}", 1))


def test_schedules_of_one_frame_do_not_pass_together_and_watching_creates_count() -> None:
    rig = rig_of(Quota(schedules=3, watches=2))
    schedules = [ScheduleCreate(f"s{n}", "0 0 1 1 *", "x{timestamp}", 1) for n in range(9)]
    rig.send(A, *(Request(n, each) for n, each in enumerate(schedules, 1)))
    rig.turn()
    assert (len(rig.take(A, Response)), len(rig.take(A, Refused))) == (3, 6)
    watched = [PromiseCreateWatched(rig.creation(f"p{n}")) for n in range(5)]
    rig.send(A, *(Request(n, each) for n, each in enumerate(watched, 1)))
    rig.turn()
    assert (len(rig.take(A, Response)), len(rig.take(A, Refused))) == (2, 3)


@pytest.mark.parametrize("is_fence", [False, True])
def test_requests_that_fill_a_step_early_keep_others_waiting_one_step(is_fence: bool) -> None:
    """Reads of what is not in memory, and large fences: a step takes only some of them."""
    rig = rig_of(Quota())
    create = tuple(PromiseCreate(f"x.{n}", LATER) for n in range(400))
    for n in range(1, 50):
        rig.send(A, Request(n, TaskFence("x", 1, create) if is_fence else PromiseGet(f"absent{n}")))
    rig.send(B, Request(1, PromiseCreate("b1", LATER)), Request(2, PromiseGet("b-absent")))
    answers = 0
    for _ in range(2):
        rig.step()
        if rig.batch is not None:
            rig.commit()
        answers += len(rig.take(B, Response))
    assert answers == 2


@given(st.integers(1, 16), st.integers(1, 5))
def test_lanes_that_had_no_turn_come_before_those_that_had(count: int, others: int) -> None:
    lanes = Lanes()
    lanes.add([request("flood", n) for n in range(1_000)])
    lanes.add([request(str(n), n) for n in range(others)])
    drawn = lanes.draw(500)
    lanes.put_back(drawn[count:], drawn[:count])
    names = [session.identity for session, _ in lanes.draw(others)]
    assert names == [str(n) for n in range(others)]


CREDITS = [Credit(1)] * 100
SCHEMAS = ("x" * 60_000,) * 10


@pytest.mark.parametrize(
    "says",
    [
        lambda _n: encode(CREDITS),
        lambda _n: encode([Ack("x", "g")] * 100),
        lambda n: encode([Request(n * 1_600 + m, PromiseGet("x")) for m in range(1_600)]),
        lambda n: encode([hello(f"a{n}-{m}", kind="client") for m in range(10)]),
        lambda n: encode([hello(f"a{n}-{m}", kind="client") for m in range(10)] + [Bye()]),
        lambda _n: encode([Functions(tuple(map(str, range(400))), (1,) * 400)]),
        lambda _n: encode([Attach("g", "m")] * 100),
        lambda _n: b"junk" * 6_000,
    ],
)
def test_of_who_floods_the_broker_no_more_frames_are_read(says: Any) -> None:
    rig = rig_of(Quota(commands=100))
    count = 2 * (WORK_BURST + 4 * 100 + WORK_MORE) // 100
    for n in range(count):
        rig.core.receive(A, says(n), rig.now)
        if n % 16 == 0:
            rig.turn()
            rig.inbox[A] = []
    rig.turn()
    metrics = rig.core.metrics
    assert count // 4 < metrics.frames_flooding < count * 3 // 4
    assert A not in rig.core.sessions.by_peer
    assert all(rig.reply(B, PromiseGet("x")).status == 404 for _ in range(3))
    # All of its connections are one flood. It comes back when its time has come.
    before = metrics.frames_flooding
    rig.core.receive(N, encode([Credit(1)]), rig.now)
    assert metrics.frames_flooding == before + 1
    rig.pass_time(120_000, 1_000)
    rig.join(A, "a", kind="client")


def test_who_says_no_more_than_its_work_explains_is_read_and_so_is_who_has_no_limits() -> None:
    rig = rig_of(Quota(commands=100))
    for n in range(600):
        rig.now += 50
        rig.core.receive(A, encode([Credit(n)] * 100), rig.now)
        rig.core.receive(B, encode([Credit(n)] * 1_000), rig.now)
        rig.turn()
    assert rig.core.metrics.frames_flooding == 0


def test_schemas_in_many_messages_have_no_more_room_than_in_one() -> None:
    rig = rig_of(Quota())
    for n in range(20):
        names = tuple(f"f{n}-{m}" for m in range(10))
        rig.send(N, Functions(names, (1,) * 10, SCHEMAS))
    schemas = rig.core.sessions.by_peer[N].schemas
    assert len(schemas) == 200
    assert sum(map(len, schemas.values())) <= NODE_BYTES_MAX + 2 * 200


def test_a_flood_takes_no_more_than_its_share_of_a_step() -> None:
    rig = rig_of(Quota())
    rig.send(A, *(Request(n, PromiseCreate(f"a{n}", LATER)) for n in range(1, 3_000)))
    rig.send(B, Request(1, PromiseCreate("b1", LATER)), Request(2, PromiseGet("b1")))
    step = rig.step()
    assert step.batch is not None
    answered = step.batch.outbox.answered
    assert answered[B] == 2
    assert answered[A] == COMMANDS_MAX - 2
    rig.turn()
    assert len(rig.take(A, Response)) == 2_999


def request(identity: str | None, number: int) -> Any:
    session = Session(b"p", hello("n"), 0, identity)
    return session, Request(number, PromiseGet("p"))


def corr_of(message: Request | Bye) -> int:
    assert isinstance(message, Request)
    return message.corr


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40)), max_size=12),
    st.lists(st.integers(1, 100), min_size=1, max_size=20),
)
def test_lanes_keep_the_order_of_each_identity_and_lose_nothing(
    arrivals: list[tuple[str, int]], draws: list[int]
) -> None:
    lanes, number, drawn = Lanes(), 0, []
    added: dict[str, list[int]] = {name: [] for name in "abc"}
    steps = [*draws]
    for name, count in arrivals:
        for _ in range(count):
            number += 1
            added[name].append(number)
            lanes.add([request(name, number)])
        if steps:
            taken = lanes.draw(steps.pop())
            lanes.put_back(taken[len(taken) // 2 :])
            drawn += taken[: len(taken) // 2]
    waiting = len(lanes)
    rest = lanes.draw(10_000)
    assert (len(rest), len(lanes)) == (waiting, 0)
    drawn += rest
    for name, numbers in added.items():
        assert [corr_of(each) for session, each in drawn if session.identity == name] == numbers


def test_lanes_are_drawn_from_in_turn() -> None:
    lanes = Lanes()
    lanes.add([request("a", n) for n in range(1_000)])
    lanes.add([request("b", n) for n in range(1_000)])
    lanes.add([request("c", 1)])
    names = [session.identity for session, _ in lanes.draw(5 * TURN)]
    assert names == ["a"] * TURN + ["b"] * TURN + ["c"] + ["a"] * TURN + ["b"] * TURN + ["a"] * (
        TURN - 1
    )
    assert next(session.identity for session, _ in lanes.draw(TURN)) == "b"


@given(
    st.integers(1, 1_000),
    st.integers(1, 1_000),
    st.lists(st.tuples(st.integers(0, 500), st.integers(1, 50)), min_size=1, max_size=60),
)
def test_a_bucket_gives_no_more_than_its_rate(
    rate: int, most: int, asked: list[tuple[int, int]]
) -> None:
    bucket, now, given_ = Bucket(), 0, 0
    for pause_ms, count in asked:
        now += pause_ms
        wait_ms = bucket.wait_ms(rate, most, now)
        if wait_ms == 0:
            bucket.take(count)
            given_ += count
        else:
            assert bucket.wait_ms(rate, most, now + wait_ms) == 0
            now += wait_ms
    assert given_ <= most + rate * now / 1_000 + 50


def test_a_long_pause_fills_a_bucket_no_further_than_its_burst() -> None:
    rig = rig_of(Quota(commands=10, burst=3))
    assert not tried(rig, A, PromiseGet("p"))
    rig.now += 100_000
    assert [bool(tried(rig, A, PromiseGet("p"))) for _ in range(4)] == [False] * 3 + [True]


def test_identities_without_limits_are_not_counted() -> None:
    rig = rig_of(Quota(pending=1))
    for n in range(50):
        assert not tried(rig, B, PromiseCreate(f"p{n}", LATER, tags={TAG_TARGET: "g"}))
    assert AGAIN_MS >= 100


@pytest.mark.parametrize("limits", [Quota(), Quota(pending=5)])
def test_refused_requests_count_as_answered(limits: Quota) -> None:
    rig = rig_of(limits, inflight_max=2)
    for n in range(20):
        rig.ask(A, PromiseCreate(f"p{n}", LATER))
        rig.turn()
    assert rig.core.sessions.by_peer[A].inflight == 0


def test_a_role_may_have_limits() -> None:
    both = Grant(limits=Quota(commands=5, pending=9)) | Grant(limits=Quota(commands=7, stored=1))
    assert both.limits == Quota(commands=7, pending=9, stored=1)
