"""Sleep, restarts and gaps of the broker: its own silence costs nobody a lease."""

from __future__ import annotations

import pytest

from tests.unit.broker.core.members import A2, A, B, C, given_members
from tests.unit.broker.core.rig import Rig
from understudy_broker.protocol.messages import Invoke, Resume, Unblock
from understudy_store.commands import PromiseRegisterListener, TaskFulfill


@pytest.fixture
def rig() -> Rig:
    return given_members()


def test_after_a_restart_holders_get_time_to_come_back() -> None:
    first = Rig()
    first.join(C, "c", kind="client")
    first.join(A, "a", credit=5)
    first.create(C, "p")
    first.create(C, "q")
    assert len(first.take(A, Invoke)) == 2

    rig = Rig(engine=first.engine)
    rig.join(B, "b", credit=5)
    rig.pass_time(3_000, step_ms=500)
    assert rig.take(B, Resume) == []
    assert rig.join(A, "a", claims=(("p", 1), ("q", 1))).lost == ()
    rig.pass_time(4_000, step_ms=500)
    assert rig.take(B, Resume) == []
    assert rig.reply(A, TaskFulfill("p", 1, "resolved")).status == 200


def test_after_a_restart_holders_that_stay_away_lose_their_tasks() -> None:
    first = Rig()
    first.join(A, "a", credit=5)
    first.create(A, "p")
    rig = Rig(engine=first.engine)
    rig.join(B, "b", credit=5)
    rig.pass_time(5_100, step_ms=500)
    assert rig.one(B, Resume).version == 2


def test_with_nothing_at_stake_a_broker_sleeps_until_the_next_heartbeat_of_an_idle_peer() -> None:
    rig = Rig()
    rig.join(A, "a")
    assert rig.due_at == rig.now + 7_500
    before = rig.core.sessions.by_name.get("a")
    assert before is not None
    beat_at = before.beat_at
    rig.now += 7_500
    rig.turn()
    assert before.beat_at == beat_at  # The broker slept as planned, so no lease begins anew.
    rig.now += 9_000  # The broker woke later than planned.
    rig.turn()
    assert before.beat_at == rig.now


def test_a_broker_that_owes_something_wakes_to_send_it_again(rig: Rig) -> None:
    rig.reply(C, PromiseRegisterListener("p", "poll://any@callers/c"))
    rig.reply(A, TaskFulfill("p", 1, "resolved"))
    rig.one(C, Unblock)
    due = rig.due_at
    assert due is not None
    assert due <= rig.now + rig.config.unblock_retry_ms
    rig.now = due
    rig.turn()
    assert rig.one(C, Unblock).promise.id == "p"


def assert_a_killed_one_is_replaced_at_once(rig: Rig) -> None:
    """Let node `b` get the first task and vanish, and another node come."""
    rig.create(C, "p")
    rig.one(B, Invoke)
    rig.core.connection_lost(B, rig.now)
    rig.join(A2, "a2", credit=1)
    rig.pass_time(60, step_ms=10)
    assert rig.one(A2, Resume).version == 2


@pytest.mark.parametrize("after_ms", [1_000, 3_000, 5_100, 7_400])
def test_a_peer_lost_while_the_broker_slept_does_not_make_that_a_pause(after_ms: int) -> None:
    rig = Rig()
    rig.join(A, "a")
    rig.join(B, "b", credit=1)
    rig.join(C, "c", kind="client", group="callers")
    assert rig.due_at == rig.now + 7_500
    rig.now += after_ms
    # In the order of the server: lost connections first, then frames.
    rig.core.connection_lost(A, rig.now)
    rig.turn()
    assert_a_killed_one_is_replaced_at_once(rig)


def test_after_a_time_without_peers_a_new_peer_gets_the_usual_grace() -> None:
    rig = Rig()
    rig.turn()
    rig.now += 3_600_000
    rig.join(B, "b", credit=1)
    rig.join(C, "c", kind="client", group="callers")
    assert_a_killed_one_is_replaced_at_once(rig)


def test_a_gap_between_two_polls_is_noticed(rig: Rig) -> None:
    rig.core.mark_polled(rig.now)
    rig.now += 8_000
    rig.turn()
    rig.core.connection_lost(A, rig.now)
    rig.pass_time(3_000)
    assert rig.take(B, Resume) == []


def test_while_a_task_is_held_a_broker_wakes_twice_per_heartbeat(rig: Rig) -> None:
    assert rig.due_at == rig.now + 1_250


def test_while_a_peer_may_come_back_a_broker_wakes_twice_per_heartbeat() -> None:
    rig = Rig(reconnect_grace_ms=9_000)
    rig.join(A, "a")
    rig.join(B, "b")
    rig.core.connection_lost(A, rig.now)
    rig.turn()
    assert rig.due_at == rig.now + 1_250


def test_silence_during_a_gap_of_the_broker_costs_no_lease(rig: Rig) -> None:
    rig.now += 30_000  # The broker was stopped, or the machine slept.
    rig.turn()
    assert rig.take(B, Resume) == []
    assert rig.core.metrics.leases_lapsed == 0
    assert rig.reply(A, TaskFulfill("p", 1, "resolved")).status == 200


def test_after_a_gap_of_the_broker_peers_may_come_back(rig: Rig) -> None:
    rig.now += 8_000  # After three heartbeats without an answer, peers open new connections.
    rig.turn()
    rig.core.connection_lost(A, rig.now)
    rig.pass_time(3_000)
    assert rig.take(B, Resume) == []
    assert rig.join(A2, "a", claims=(("p", 1),), credit=1).lost == ()
    assert rig.reply(A2, TaskFulfill("p", 1, "resolved")).status == 200
