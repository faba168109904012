"""The core with peers in memory: messages reach the right peer, and never before their commit."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.broker.core.rig import Rig, hello
from understudy_broker.core.outbox import pack
from understudy_broker.protocol.frames import (
    FrameLimits,
    FrameSequence,
    decode_to_peer,
    encode,
    number_of,
)
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    Ack,
    Beat,
    Bye,
    Credit,
    GroupsGet,
    Invoke,
    PromiseWatch,
    Refused,
    Request,
    Response,
    Resume,
    Revoked,
    Settled,
    Unblock,
    Welcome,
)
from understudy_store.commands import (
    PromiseCancel,
    PromiseCreate,
    PromiseGet,
    PromiseRegisterListener,
    PromiseSearch,
    PromiseSettle,
    Reply,
    TaskAcquire,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskHalt,
    TaskHeartbeat,
    TaskPreload,
    TaskRelease,
    TaskSuspend,
)
from understudy_store.records import TAG_BRANCH, TAG_ORIGIN, TAG_TARGET, Value, pid_of

A, B, C = b"peer-a", b"peer-b", b"peer-c"


def child(rig: Rig, id_: str, of: str, target: str | None = "elsewhere") -> PromiseCreate:
    tags = {TAG_BRANCH: of, TAG_ORIGIN: of} | ({TAG_TARGET: target} if target else {})
    return PromiseCreate(id_, rig.now + 50_000, Value({}), tags)


# Create, invoke, fulfil, tell -----------------------------------------------------------------


def test_a_call_from_end_to_end(rig: Rig) -> None:
    assert rig.create(C, "p").status == 201
    invoke = rig.one(A, Invoke)
    assert (invoke.promise.id, invoke.promise.param.data, invoke.version) == ("p", b"x", 1)
    assert rig.reply(C, PromiseWatch(("p",))).promises == []
    assert rig.reply(A, TaskFulfill("p", 1, "resolved", Value({}, b"y"))).status == 200
    settled = rig.one(C, Settled)
    assert [(p.id, p.state, p.value.data) for p in settled.promises] == [("p", "resolved", b"y")]


def test_nothing_is_said_before_its_commit(rig: Rig) -> None:
    rig.ask(C, PromiseCreate("p", rig.now + 9_000, Value({}), {TAG_TARGET: "g"}))
    rig.ask(C, PromiseWatch(("p",)))
    first = rig.step().batch
    assert first is not None
    assert first.changes
    # While the first batch commits, the node cannot know yet; further requests are another batch.
    rig.ask(C, PromiseGet("p"))
    rig.ask(C, PromiseCreate("q", rig.now + 9_000))
    assert rig.step().batch is None
    assert rig.take(A, Invoke) == []
    assert rig.take(C, Response) == []
    rig.commit()
    assert rig.one(A, Invoke).promise.id == "p"
    assert len(rig.take(C, Response)) == 2
    assert rig.step().batch is not None
    rig.commit()
    assert len(rig.take(C, Response)) == 2


def test_all_that_a_batch_owes_to_a_peer_is_one_frame(rig: Rig) -> None:
    before = len(rig.sent)
    for number in range(8):
        command = PromiseCreate(f"p{number}", rig.now + 9_000, Value({}), {TAG_TARGET: "g"})
        rig.ask(C, command)
    rig.turn()
    frames = rig.sent[before:]
    assert sorted(peer for peer, _ in frames) == [A, C]
    assert {peer: len(messages) for peer, messages in frames} == {A: 8, C: 8}


def test_a_task_that_settles_in_the_same_batch_is_not_sent_and_credit_is_kept(rig: Rig) -> None:
    for number in range(20):
        command = PromiseCreate(f"p{number}", rig.now + 9_000, Value({}), {TAG_TARGET: "g"})
        rig.ask(C, command)
        rig.ask(C, PromiseCancel(f"p{number}"))
    rig.turn()
    assert rig.take(A, Invoke) == []
    for number in range(10):
        rig.create(C, f"q{number}")
    assert len(rig.take(A, Invoke)) == 10


def test_tasks_wait_for_credit(rig: Rig) -> None:
    for number in range(12):
        rig.create(C, f"p{number}")
    assert len(rig.take(A, Invoke)) == 10
    rig.send(A, Credit(11))
    rig.turn()
    assert [m.promise.id for m in rig.take(A, Invoke)] == ["p10"]
    report = rig.ask(C, GroupsGet())
    rig.turn()
    response = next(m for m in rig.take(C, Response) if m.corr == report)
    assert response.report is not None
    group = next(g for g in response.report.groups if g.name == "g")
    assert (group.queued, group.nodes[0].held, group.nodes[0].credit) == (1, 11, 0)
    assert response.report.counters["dispatched"] == 11
    # The rig's nodes are as those of earlier releases, which do not say it.
    assert group.nodes[0].concurrency is None


def test_the_concurrency_and_the_build_of_a_node_are_reported(rig: Rig) -> None:
    told = msgspec.structs.replace(hello("n", group="counted"), concurrency=7, build="3f2a")
    rig.send(b"peer-n", told)
    report = rig.ask(C, GroupsGet())
    rig.turn()
    response = next(m for m in rig.take(C, Response) if m.corr == report)
    assert response.report is not None
    assert [
        [(node.concurrency, node.build) for node in group.nodes]
        for group in response.report.groups
        if group.name == "counted"
    ] == [[(7, "3f2a")]]


@pytest.mark.parametrize("concurrency", [0, -1, 2**31, 2**63])
def test_a_hello_with_an_impossible_concurrency_is_refused(rig: Rig, concurrency: int) -> None:
    rig.send(b"peer-n", msgspec.structs.replace(hello("n"), concurrency=concurrency))
    rig.turn()
    [refused] = rig.take(b"peer-n", Refused)
    assert (refused.status, refused.fatal) == (400, True)
    assert refused.error.startswith(f"concurrency: {concurrency} is not between")


def test_a_hello_with_a_long_build_is_refused(rig: Rig) -> None:
    rig.send(b"peer-n", msgspec.structs.replace(hello("n"), build="x" * 101))
    rig.turn()
    [refused] = rig.take(b"peer-n", Refused)
    assert (refused.status, refused.fatal) == (400, True)
    assert refused.error == "build: use at most 100 characters"


def test_a_task_that_settles_while_it_waits_leaves_the_queue(rig: Rig) -> None:
    rig.create(C, "p", target="nobody")
    assert rig.core.dispatcher.statistics().queued == 1
    rig.reply(C, PromiseCancel("p"))
    assert rig.core.dispatcher.statistics().queued == 0


def test_a_task_halted_while_it_waits_costs_no_credit(rig: Rig) -> None:
    rig.create(C, "p", target="h")
    rig.create(C, "q", target="h")
    rig.reply(C, TaskHalt("p"))
    rig.join(B, "b", group="h", credit=1)
    assert [m.promise.id for m in rig.take(B, Invoke)] == ["q"]


def test_a_suspended_task_resumes_warm_where_it_was(rig: Rig) -> None:
    rig.create(C, "p")
    rig.one(A, Invoke)
    rig.reply(A, TaskFence("p", 1, (child(rig, "p.1", "p"),)))
    assert rig.reply(A, TaskSuspend("p", 1, ("p.1",))).status == 200
    rig.reply(C, PromiseSettle("p.1", "resolved", Value({}, b"v")))
    box = rig.inbox[A]
    # The node hears of the settlement no later than of the task that it resumes.
    assert [type(message) for message in box] == [Settled, Resume]
    resume = rig.one(A, Resume)
    assert (resume.version, resume.preload) == (2, None)


def test_elsewhere_it_resumes_with_its_children(rig: Rig) -> None:
    rig.create(C, "p")
    rig.one(A, Invoke)
    rig.reply(A, TaskFence("p", 1, (child(rig, "p.1", "p"), child(rig, "p.2", "p"))))
    rig.reply(A, TaskSuspend("p", 1, ("p.1",)))
    rig.join(B, "b", credit=5)
    rig.send(A, Bye())
    rig.reply(C, PromiseSettle("p.1", "resolved", Value({}, b"v")))
    resume = rig.one(B, Resume)
    assert resume.version == 2
    assert resume.preload is not None
    assert {(p.id, p.state) for p in resume.preload} == {("p.1", "resolved"), ("p.2", "pending")}


def test_elsewhere_it_resumes_with_the_count_of_its_failures(rig: Rig) -> None:
    rig.create(C, "p")
    rig.one(A, Invoke)
    rig.reply(A, TaskRelease("p", 1, 1_000, failed=True))
    rig.join(B, "b", credit=5)
    rig.send(A, Bye())
    rig.pass_time(1_000)
    resume = rig.one(B, Resume)
    assert (resume.version, resume.preload, resume.failures) == (2, [], 1)


def test_the_holder_hears_of_its_children_without_asking(rig: Rig) -> None:
    rig.create(C, "p")
    rig.one(A, Invoke)
    rig.reply(A, TaskFence("p", 1, (child(rig, "p.1", "p"),)))
    rig.reply(A, PromiseWatch(("p.1",)))  # It watches as well, and is still told once.
    rig.reply(C, PromiseSettle("p.1", "resolved"))
    assert [p.id for p in rig.one(A, Settled).promises] == ["p.1"]


def test_preload_can_be_asked_for_by_the_holder_only(rig: Rig) -> None:
    rig.create(C, "p")
    rig.reply(A, TaskFence("p", 1, (child(rig, "p.1", "p"),)))
    preload = rig.reply(A, TaskPreload("p", 1)).promises
    assert preload is not None
    assert [p.id for p in preload] == ["p.1"]
    assert rig.reply(A, TaskPreload("p", 2)).status == 409


def test_searches_see_their_own_batch(rig: Rig) -> None:
    rig.ask(C, PromiseCreate("s1", rig.now + 9_000))
    found = rig.reply(C, PromiseSearch(prefix="s")).promises
    assert found is not None
    assert [p.id for p in found] == ["s1"]


# Unblocks --------------------------------------------------------------------------------------


def test_an_unblock_is_sent_until_it_is_acknowledged(rig: Rig) -> None:
    rig.create(C, "p", target=None)
    address = "poll://uni@callers/c"
    assert rig.reply(C, PromiseRegisterListener("p", address)).ok is False  # It is not external.
    rig.create(C, "q")
    assert rig.reply(C, PromiseRegisterListener("q", address)).ok
    rig.reply(A, TaskFulfill("q", 1, "resolved"))
    assert rig.one(C, Unblock).promise.id == "q"
    rig.pass_time(6_000, step_ms=1_000)
    assert rig.one(C, Unblock).address == address
    rig.send(C, Ack("q", address), Ack("q", address), Ack("q", "no address"))
    rig.pass_time(11_000, step_ms=1_000)
    assert rig.take(C, Unblock) == []


def test_an_unblock_that_was_acknowledged_is_not_owed_after_a_restart(rig: Rig) -> None:
    address = "poll://any@callers/c"
    rig.create(C, "q")
    rig.reply(C, PromiseRegisterListener("q", address))
    rig.reply(A, TaskFulfill("q", 1, "resolved"))
    assert rig.engine.load().unblocks == [(rig.one(C, Unblock).promise, address)]
    rig.send(C, Ack("q", address))
    rig.turn()
    assert rig.engine.load().unblocks == []


def test_an_unblock_waits_for_its_group_to_connect(rig: Rig) -> None:
    rig.create(C, "q")
    rig.reply(C, PromiseRegisterListener("q", "poll://any@later"))
    rig.reply(A, TaskFulfill("q", 1, "resolved"))
    rig.join(B, "b", group="later", kind="client")
    assert rig.one(B, Unblock).promise.id == "q"


# Refusals --------------------------------------------------------------------------------------


def test_a_peer_without_a_hello_is_told_to_say_it(rig: Rig) -> None:
    rig.send(b"stranger", Request(1, PromiseGet("p")), Request(2, PromiseGet("p")))
    rig.turn()
    assert rig.refused(b"stranger") == 412


@pytest.mark.parametrize(
    ("frame", "status", "fatal"),
    [
        (b"", 400, False),
        (bytes([PROTOCOL_VERSION]) + b"\xc1", 400, False),
        (b"\x07" + encode([Beat()])[1:], 426, True),
        (encode([hello("a b")]), 400, True),
        (encode([hello("x", protocol=PROTOCOL_VERSION + 1)]), 426, True),
        (encode([hello("x", boot="")]), 400, True),
    ],
)
def test_bad_frames_are_refused_in_words(rig: Rig, frame: bytes, status: int, fatal: bool) -> None:
    rig.core.receive(B, frame, rig.now)
    rig.turn()
    refused = rig.one(B, Refused)
    assert (refused.status, refused.fatal) == (status, fatal)
    assert refused.error
    assert rig.create(C, "still").status == 201


@pytest.mark.parametrize("numbered", [False, True])
def test_a_peer_of_an_older_version_is_refused_in_a_frame_of_its_own(
    rig: Rig, numbered: bool
) -> None:
    older = PROTOCOL_VERSION - 1
    frame = bytearray(FrameSequence().stamp(encode([hello("b")])) if numbered else encode([Beat()]))
    frame[0] -= PROTOCOL_VERSION - older
    rig.core.receive(B, bytes(frame), rig.now)
    [(peer, answer)] = rig.core.step(rig.now, rig.find).frames
    assert (peer, answer[0]) == (B, older)
    [refused] = decode_to_peer(encode([])[:1] + answer[1:])
    assert isinstance(refused, Refused)
    assert (refused.status, refused.fatal) == (426, True)
    assert "speaks protocol version 1, and the broker version 2" in refused.error
    assert rig.create(C, "still").status == 201


def test_a_frame_that_comes_again_does_nothing(rig: Rig) -> None:
    order = FrameSequence()
    rig.core.receive(B, order.stamp(encode([hello("b", credit=1)])), rig.now)
    rig.turn()
    asks = order.stamp(encode([Request(1, PromiseGet("p"))]))
    for frame in (asks, asks):
        rig.core.receive(B, frame, rig.now)
    rig.turn()
    assert len(rig.take(B, Response)) == 1
    assert rig.core.metrics.frames_repeated == 1


def test_a_missing_frame_ends_the_connection_before_later_frames_are_performed(rig: Rig) -> None:
    order = FrameSequence()
    rig.core.receive(B, order.stamp(encode([hello("b")])), rig.now)
    rig.turn()
    order.stamp(
        encode([Request(1, PromiseCreate("p", rig.now + 9_000))])
    )  # This frame never arrives.
    for command in (PromiseWatch(("p",)), PromiseGet("p")):
        rig.core.receive(B, order.stamp(encode([Request(2, command)])), rig.now)
    rig.turn()
    assert {refused.status for refused in rig.take(B, Refused)} == {412}
    assert rig.take(B, Response) == []
    assert rig.core.metrics.frames_missing == 1
    assert rig.core.sessions.by_name.get("b") is None


def test_a_peer_that_numbers_its_frames_gets_numbered_ones(rig: Rig) -> None:
    order = FrameSequence()
    rig.core.receive(B, order.stamp(encode([hello("b")])), rig.now)
    rig.core.receive(B, order.stamp(b"nonsense"), rig.now)
    frames = [frame for peer, frame in rig.step().frames if peer == B]
    assert [number_of(frame) for frame in frames] == [1]
    rig.send(A, hello("a"))
    frames = [frame for peer, frame in rig.step().frames if peer == A]
    assert [number_of(frame) for frame in frames] == [None]


def test_too_many_unanswered_requests_are_refused_and_later_ones_taken_again() -> None:
    rig = Rig(inflight_max=3)
    rig.join(C, "c", kind="client")
    corrs = [rig.ask(C, PromiseGet("p")) for _ in range(5)]
    rig.turn()
    assert [m.corr for m in rig.take(C, Refused)] == corrs[3:]
    assert [m.corr for m in rig.take(C, Response)] == corrs[:3]
    assert rig.reply(C, PromiseGet("p")).status == 404


def test_a_turn_performs_so_many_commands_that_a_commit_can_begin(rig: Rig) -> None:
    rig.join(C, "c", kind="client")
    corrs = [rig.ask(C, PromiseCreate(f"p{n}", rig.now + 9_000)) for n in range(1_200)]
    sizes = []
    while True:
        step = rig.step()
        assert step.batch is not None
        sizes.append(len(step.batch.changes.inserted))
        rig.commit()
        if step.due_at != rig.now:
            break
    assert sizes == [512, 512, 176]
    assert [m.corr for m in rig.take(C, Response)] == corrs


def test_answered_requests_are_no_longer_counted() -> None:
    rig = Rig(inflight_max=1)
    rig.join(C, "c", kind="client")
    assert [rig.create(C, f"p{number}", target=None).status for number in range(3)] == [201] * 3


def test_unanswered_bytes_are_bounded() -> None:
    rig = Rig(inflight_bytes_max=1_000)
    rig.join(C, "c", kind="client")
    command = PromiseCreate("p", rig.now + 9_000, Value({}, b"x" * 1_500))
    first, second = rig.ask(C, command), rig.ask(C, command)
    rig.turn()
    assert [m.corr for m in rig.take(C, Response)] == [first]
    assert rig.one(C, Refused).corr == second
    assert rig.reply(C, PromiseGet("p")).status == 200


def test_a_full_core_says_so_until_its_batch_is_taken() -> None:
    rig = Rig(batch_requests_max=2)
    rig.join(C, "c", kind="client")
    full = []
    for _ in range(2):
        rig.ask(C, PromiseGet("p"))
        full.append(rig.core.full)
    rig.turn()
    assert [*full, rig.core.full] == [False, True, False]


@pytest.mark.parametrize(
    "command",
    [
        TaskCreate(pid_of("c", "2"), 1_000, "t", 2_000_000),
        TaskAcquire("p", 0, "x", 9),
        TaskHeartbeat(pid_of("a", "1")),
    ],
)
def test_leases_are_taken_in_ones_own_name(
    rig: Rig, command: TaskCreate | TaskAcquire | TaskHeartbeat
) -> None:
    reply = rig.reply(C, command)
    assert reply.status == 400
    assert pid_of("c", "1") in (reply.error or "")


def test_stale_writes_are_refused_and_counted(rig: Rig) -> None:
    rig.create(C, "p")
    rig.one(A, Invoke)
    rig.reply(A, TaskRelease("p", 1))
    assert rig.one(A, Resume).version == 2
    assert rig.reply(A, TaskFulfill("p", 1, "resolved")).status == 409
    assert rig.core.metrics.stale_writes == 1


def test_a_holder_is_told_when_its_task_is_cancelled(rig: Rig) -> None:
    rig.create(C, "p")
    rig.one(A, Invoke)
    rig.reply(C, PromiseCancel("p"))
    revoked = rig.one(A, Revoked)
    assert (revoked.id, revoked.version) == ("p", 1)


def test_a_reply_larger_than_a_frame_becomes_a_refusal(rig: Rig) -> None:
    big = Response(7, Reply(200, error="x" * 5_000))
    limits = FrameLimits(frame_bytes_soft=500, peer_frame_bytes_max=1_000)
    frames = pack(A, [Beat(), big, Response(8, Reply(200))], limits)
    told = [message for _, frame in frames for message in decode_to_peer(frame)]
    assert [type(message) for message in told] == [Beat, Response, Refused]
    assert isinstance(told[2], Refused)
    assert (told[2].status, told[2].corr) == (413, 7)


def test_a_preload_larger_than_a_frame_must_be_asked_for(rig: Rig) -> None:
    """The node then learns that it is too large, instead of holding the task for ever."""
    rig.create(C, "p")
    promise = rig.one(A, Invoke).promise
    limits = FrameLimits(frame_bytes_soft=500, peer_frame_bytes_max=1_000)
    frames = pack(A, [Resume(promise, 2, [promise] * 50, 1), Beat()], limits)
    told = [message for _, frame in frames for message in decode_to_peer(frame)]
    assert told == [Beat(), Resume(promise, 2, None, 1)]


def test_a_malformed_request_harms_only_itself(rig: Rig) -> None:
    wrong = Request(2, PromiseGet(5))  # type: ignore[arg-type]
    rig.send(C, Request(1, PromiseGet("no")), wrong, Request(3, PromiseGet("no")))
    rig.turn()
    refused = rig.one(C, Refused)
    assert (refused.status, refused.corr, refused.fatal) == (400, 2, False)
    assert [response.corr for response in rig.take(C, Response)] == [1, 3]


def test_welcome_tells_the_terms(rig: Rig) -> None:
    welcome = rig.join(B, "b")
    assert isinstance(welcome, Welcome)
    assert (welcome.pid, welcome.lease_ttl_ms, welcome.beat_ms) == (pid_of("b", "1"), 10_000, 2_500)
