"""Heartbeats and leases: who is silent for its lease loses its tasks, and nobody else does."""

from __future__ import annotations

import pytest

from tests.unit.broker.core.members import A2, A, B, C, beats, given_members
from tests.unit.broker.core.rig import Rig
from understudy_broker.protocol.messages import Beat, Bye, Invoke, Resume
from understudy_store.commands import TaskFulfill


@pytest.fixture
def rig() -> Rig:
    return given_members()


def test_a_heartbeat_is_answered_and_renews_the_lease(rig: Rig) -> None:
    beats(rig, 25_000, A, B, C)
    assert len(rig.take(A, Beat)) == 25
    assert rig.take(B, Resume) == []
    assert rig.reply(A, TaskFulfill("p", 1, "resolved")).status == 200


def test_with_few_peers_a_heartbeat_is_answered_at_once(rig: Rig) -> None:
    rig.send(A, Beat())
    rig.turn()
    assert rig.take(A, Beat) == [Beat()]


def test_with_many_peers_heartbeats_are_answered_together_and_soon(rig: Rig) -> None:
    for number in range(20):
        rig.join(b"more-%d" % number, f"more-{number}")
    rig.send(A, Beat())
    rig.turn()
    due = rig.due_at
    assert due is not None
    assert rig.now < due <= rig.now + rig.config.beat_ms // 4
    rig.now += 100
    rig.send(B, Beat())
    rig.turn()
    assert [rig.take(peer, Beat) for peer in (A, B)] == [[], []]
    rig.now = due
    rig.turn()
    assert [rig.take(peer, Beat) for peer in (A, B)] == [[Beat()], [Beat()]]
    rig.pass_time(1_000)
    assert [rig.take(peer, Beat) for peer in (A, B)] == [[], []]


def test_a_lost_peer_gets_no_answer_to_its_heartbeat(rig: Rig) -> None:
    rig.send(A, Beat())
    rig.core.connection_lost(A, rig.now)
    rig.pass_time(1_000)
    assert rig.take(A, Beat) == []


def test_a_silent_node_loses_its_tasks_when_its_lease_lapses(rig: Rig) -> None:
    beats(rig, 9_000, B, C)
    assert rig.take(B, Resume) == []
    beats(rig, 2_000, B, C)
    resume = rig.one(B, Resume)
    assert (resume.version, resume.preload) == (2, [])
    # The node wakes up late: its writes are refused, and a new hello tells it its losses.
    rig.send(A, Beat())
    rig.turn()
    assert rig.refused(A) == 412
    assert rig.join(A, "a", claims=(("p", 1),)).lost == ("p",)
    assert rig.reply(A, TaskFulfill("p", 1, "resolved")).status == 409


def test_a_peer_that_holds_nothing_may_be_silent_for_half_a_lease_longer(rig: Rig) -> None:
    beats(rig, 14_000, A, C)
    assert rig.core.metrics.leases_lapsed == 0
    beats(rig, 2_000, A, C)
    assert rig.core.metrics.leases_lapsed == 1
    assert rig.core.sessions.by_name.get("b") is None
    assert rig.core.sessions.by_name.get("a") is not None


def test_a_task_handed_to_an_idle_node_has_a_whole_lease(rig: Rig) -> None:
    beats(rig, 12_000, A, C)
    rig.send(A, Bye())
    rig.turn()
    assert rig.one(B, Resume).version == 2
    beats(rig, 9_000, C)
    assert rig.reply(B, TaskFulfill("p", 2, "resolved")).status == 200


def test_an_idle_node_that_is_dead_loses_its_task_one_lease_later(rig: Rig) -> None:
    beats(rig, 12_000, A, C)
    rig.send(A, Bye())
    rig.turn()
    assert rig.one(B, Resume).version == 2
    rig.join(A2, "a2", credit=2)
    beats(rig, 9_000, C, A2)
    assert rig.take(A2, Resume) == []
    beats(rig, 1_000, C, A2)
    assert rig.one(A2, Resume).version == 3


def test_another_task_does_not_renew_the_lease_of_a_silent_node(rig: Rig) -> None:
    rig.send(B, Bye())
    beats(rig, 5_000, C)
    rig.create(C, "q")
    rig.one(A, Invoke)
    rig.join(B, "b", credit=2)
    beats(rig, 4_000, B, C)
    assert rig.take(B, Resume) == []
    beats(rig, 2_000, B, C)
    assert {resume.promise.id for resume in rig.take(B, Resume)} == {"p", "q"}


def test_silent_peers_are_found_without_looking_at_all_of_them(rig: Rig) -> None:
    sessions = rig.core.sessions
    for number in range(50):
        rig.join(b"crowd-%d" % number, f"crowd-{number}")
        rig.pass_time(100)
    oldest_first = [session.name for session in sessions.silent(rig.now)]
    assert oldest_first == ["c", "a", "b", *(f"crowd-{number}" for number in range(50))]
    rig.send(b"crowd-7", Beat())
    assert [session.name for session in sessions.silent(rig.now)][-1] == "crowd-7"
    quiet_for_4_s = sessions.silent(rig.now - 4_000)
    assert [session.name for session in quiet_for_4_s][3:] == [
        f"crowd-{number}" for number in range(11) if number != 7
    ]
