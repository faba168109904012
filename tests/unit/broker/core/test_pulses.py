"""Pulses: the lease of a silent node is extended while its pulse goes on, up to a bound."""

from __future__ import annotations

import pytest

from tests.unit.broker.core.members import A2, A, B, C, beats, given_members
from tests.unit.broker.core.rig import Rig
from understudy_broker.protocol.messages import Beat, Invoke, Pulse, Refused, Resume
from understudy_store.commands import TaskFulfill, TaskGet
from understudy_store.records import pid_of

PULSE = b"pulse-of-a"


@pytest.fixture
def rig() -> Rig:
    return given_members()


def warnings(rig: Rig) -> list[str]:
    return [event.text for event in rig.events if event.level == "warning"]


def pulse(rig: Rig, name: str, peer: bytes = PULSE) -> None:
    rig.send(peer, Pulse(pid_of(name, "1")))
    rig.turn()


def test_a_silent_node_whose_pulse_goes_on_keeps_its_tasks(rig: Rig) -> None:
    pulse(rig, "a")
    beats(rig, 40_000, B, C)
    assert rig.take(B, Resume) == []
    assert warnings(rig) == ["sends no heartbeats, but its process lives; its lease is extended"]
    assert (rig.core.metrics.leases_extended, rig.core.metrics.leases_lapsed) == (1, 0)
    rig.send(A, Beat())
    rig.turn()
    assert rig.reply(A, TaskFulfill("p", 1, "resolved")).status == 200
    assert warnings(rig)[1:] == ["sends heartbeats again"]
    assert rig.events[-1].fields["silent_s"] == 40


def test_the_lease_of_a_silent_node_is_extended_up_to_a_bound() -> None:
    rig = Rig(stall_max_ms=20_000)
    rig.join(C, "c", kind="client", group="callers")
    rig.join(A, "a", credit=2)
    rig.create(C, "p", in_ms=600_000)
    rig.join(B, "b", credit=2)
    pulse(rig, "a")
    beats(rig, 29_000, B, C)
    assert rig.take(B, Resume) == []
    beats(rig, 2_000, B, C)
    assert rig.one(B, Resume).version == 2
    cause = rig.reply(C, TaskGet("p")).task.cause  # type: ignore[union-attr]
    assert str(cause).startswith(
        "node a (process 1 on host): silent for 30 s, its interpreter was held"
    )


def test_without_a_bound_for_it_no_lease_is_extended() -> None:
    rig = Rig(stall_max_ms=0)
    rig.join(A, "a", credit=2)
    rig.join(B, "b", credit=2)
    pulse(rig, "a")
    beats(rig, 16_000, B)
    assert rig.core.metrics.leases_lapsed == 1


def test_a_silent_node_whose_pulse_ends_loses_its_tasks_at_once(rig: Rig) -> None:
    pulse(rig, "a")
    beats(rig, 12_000, B, C)
    assert rig.take(B, Resume) == []
    rig.core.connection_lost(PULSE, rig.now)
    rig.turn()
    assert rig.one(B, Resume).version == 2
    assert rig.core.metrics.leases_lapsed == 1
    assert rig.core.metrics.connections_lost == 0, "it was no peer's own"


def test_a_shell_is_told_of_the_pulses_that_it_is_to_look_at(rig: Rig) -> None:
    pulse(rig, "a")
    beats(rig, 9_000, B, C)
    assert rig.core.stalls.take_relied_on() == set()
    beats(rig, 2_000, B, C)
    assert rig.core.stalls.take_relied_on() == {PULSE}
    assert rig.core.stalls.take_relied_on() == set()
    beats(rig, 1_000, B, C)
    rig.core.connection_lost(PULSE, rig.now)
    assert rig.core.stalls.take_relied_on() == set(), "it has ended"


def test_a_pulse_that_ends_before_the_lease_harms_nothing(rig: Rig) -> None:
    pulse(rig, "a")
    rig.core.connection_lost(PULSE, rig.now)
    rig.turn()
    beats(rig, 9_000, B, C)
    assert rig.take(B, Resume) == []
    beats(rig, 2_000, B, C)
    assert rig.one(B, Resume).version == 2


def test_only_the_latest_pulse_counts(rig: Rig) -> None:
    pulse(rig, "a")
    pulse(rig, "a", b"another-pulse")
    beats(rig, 12_000, B, C)
    rig.core.connection_lost(PULSE, rig.now)
    rig.turn()
    assert rig.take(B, Resume) == []
    rig.core.connection_lost(b"another-pulse", rig.now)
    rig.turn()
    assert rig.one(B, Resume).version == 2


def test_a_pulse_ends_with_its_nodes_session(rig: Rig) -> None:
    pulse(rig, "a")
    rig.join(A2, "a", credit=2, claims=(("p", 1),))
    beats(rig, 11_000, B, C)
    assert rig.one(B, Resume).version == 2
    rig.core.connection_lost(PULSE, rig.now)
    pulse(rig, "nobody")
    assert rig.take(PULSE, Refused) == []


def test_a_silent_node_gets_no_more_tasks_until_it_is_heard(rig: Rig) -> None:
    pulse(rig, "a")
    beats(rig, 12_000, B, C)
    for number in range(3):
        rig.create(C, f"more-{number}")
    assert len(rig.take(B, Invoke)) == 2
    assert rig.take(A, Invoke) == []
    rig.send(A, Beat())
    rig.turn()
    assert len(rig.take(A, Invoke)) == 1, "its credit is as before"


def test_a_silent_node_that_leaves_the_stall_may_stall_again(rig: Rig) -> None:
    pulse(rig, "a")
    for _ in range(3):
        beats(rig, 15_000, B, C)
        rig.send(A, Beat())
        rig.turn()
    assert rig.core.metrics.leases_extended == 3
    assert rig.reply(A, TaskFulfill("p", 1, "resolved")).status == 200


def test_a_stall_across_a_gap_of_the_broker_keeps_its_bound() -> None:
    rig = Rig(stall_max_ms=60_000)
    rig.join(A, "a", credit=2)
    rig.join(B, "b", credit=2)
    pulse(rig, "a")
    beats(rig, 30_000, B)
    rig.now += 30_000  # The broker itself is stopped.
    beats(rig, 16_000, B)
    assert rig.core.metrics.leases_lapsed == 1
