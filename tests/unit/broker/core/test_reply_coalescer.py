"""Replies that nobody waits for travel with the next push; others are never delayed."""

from __future__ import annotations

import pytest

from tests.unit.broker.core.rig import Rig
from understudy_broker.core.reply_coalescer import DELAYED_MAX, FENCE_COMMANDS_MAX
from understudy_broker.protocol.messages import Invoke, Response, Settled
from understudy_store.commands import PromiseCreate, PromiseSettle, TaskFence, TaskFulfill
from understudy_store.records import (
    TAG_BRANCH,
    TAG_ORIGIN,
    TAG_PARENT,
    TAG_SCOPE,
    TAG_TARGET,
    Value,
)

A, B, C = b"peer-a", b"peer-b", b"peer-c"
WAIT_MS = 20


@pytest.fixture
def rig() -> Rig:
    """A node with the task `p`, a node of another group without credit, and a client."""
    rig = Rig(reply_delay_ms=WAIT_MS)
    rig.join(A, "a", credit=1)
    rig.join(B, "b", group="other")
    rig.join(C, "c", kind="client")
    assert rig.create(C, "p").status == 201
    assert rig.one(A, Invoke).promise.id == "p"
    return rig


def child(rig: Rig, id_: str) -> PromiseCreate:
    tags = {TAG_TARGET: "other", TAG_ORIGIN: "p", TAG_BRANCH: "p", TAG_PARENT: "p"}
    return PromiseCreate(id_, rig.now + 1_000, Value({}, b""), tags)


def answers(rig: Rig, peer: bytes) -> list[int]:
    return [answer.corr for answer in rig.take(peer, Response)]


def test_the_reply_to_a_call_is_delayed_for_a_bounded_time(rig: Rig) -> None:
    corr = rig.ask(A, TaskFence("p", 1, (child(rig, "p.1"),)))
    rig.turn()
    assert answers(rig, A) == []
    assert rig.due_at == rig.now + WAIT_MS
    rig.now += WAIT_MS
    rig.turn()
    assert answers(rig, A) == [corr]
    assert rig.due_at != rig.now


def test_a_delayed_reply_leaves_with_the_next_push_and_before_it(rig: Rig) -> None:
    corr = rig.ask(A, TaskFence("p", 1, (child(rig, "p.1"),)))
    rig.turn()
    rig.sent.clear()
    rig.reply(C, PromiseSettle("p.1", "resolved", Value({}, b"x")))
    [frame] = [messages for peer, messages in rig.sent if peer == A]
    assert [type(message) for message in frame] == [Response, Settled]
    assert frame[0].corr == corr  # type: ignore[union-attr]


def test_the_reply_to_a_result_is_delayed_and_does_not_repeat_it(rig: Rig) -> None:
    corr = rig.ask(A, TaskFulfill("p", 1, "resolved", Value({}, b"y")))
    rig.turn()
    assert rig.take(A, Response) == []
    rig.now += WAIT_MS
    rig.turn()
    [answer] = rig.take(A, Response)
    assert (answer.corr, answer.reply.status, answer.reply.promise) == (corr, 200, None)


def test_the_reply_to_a_step_comes_at_once(rig: Rig) -> None:
    # A local one, because the settlement of others is pushed, and the reply leaves with the push.
    tags = {TAG_ORIGIN: "p", TAG_BRANCH: "p", TAG_SCOPE: "local"}
    step = PromiseCreate("p.1", rig.now + 1_000, Value({}, b""), tags)
    settle = PromiseSettle("p.1", "resolved", Value({}, b"x"))
    assert rig.reply(A, TaskFence("p", 1, (step, settle))).status == 200


def test_a_refusal_comes_at_once(rig: Rig) -> None:
    assert rig.reply(A, TaskFence("p", 9, (child(rig, "p.1"),))).status == 409
    assert rig.reply(A, TaskFulfill("p", 9, "resolved", Value({}, b"y"))).status == 409


def test_a_promise_that_was_there_is_told_at_once(rig: Rig) -> None:
    assert rig.create(C, "p.1").status == 201
    reply = rig.reply(A, TaskFence("p", 1, (child(rig, "p.1"),)))
    assert reply.replies is not None


def test_clients_do_not_wait(rig: Rig) -> None:
    assert rig.create(C, "q").status == 201


def test_the_reply_to_a_large_fence_comes_at_once(rig: Rig) -> None:
    calls = tuple(child(rig, f"p.{n}") for n in range(FENCE_COMMANDS_MAX + 1))
    assert rig.reply(A, TaskFence("p", 1, calls)).status == 200


def test_delayed_replies_are_bounded(rig: Rig) -> None:
    asked = []
    for n in range(DELAYED_MAX + 1):
        asked.append(rig.ask(A, TaskFence("p", 1, (child(rig, f"p.{n}"),))))
        rig.turn()
    assert answers(rig, A) == asked


def test_a_lost_peer_gets_no_delayed_replies(rig: Rig) -> None:
    rig.ask(A, TaskFence("p", 1, (child(rig, "p.1"),)))
    rig.turn()
    rig.core.connection_lost(A, rig.now)
    rig.sent.clear()
    rig.now += WAIT_MS
    rig.turn()
    assert [peer for peer, _ in rig.sent if peer == A] == []


def test_pushes_leave_before_replies(rig: Rig) -> None:
    rig.join(b"peer-d", "d", group="free", credit=1)
    rig.sent.clear()
    rig.ask(C, PromiseCreate("r", rig.now + 1_000, Value({}, b""), {TAG_TARGET: "free"}))
    rig.turn()
    assert [peer for peer, _ in rig.sent] == [b"peer-d", C]
