"""Identities: a session is its key's, nobody else takes it over, and a revoked one ends."""

from __future__ import annotations

import pytest

from tests.unit.broker.core.members import A2, A, B, C
from tests.unit.broker.core.rig import Rig, hello
from understudy_broker.protocol.messages import Invoke, Pulse, Refused, Resume, Welcome
from understudy_store.commands import TaskFulfill
from understudy_store.records import pid_of

OTHER = b"other"


@pytest.fixture
def rig() -> Rig:
    """Node a holds the task p; b has credit for it; c is a client."""
    rig = Rig(reconnect_grace_ms=5_000)
    owners = {A: "team-a", A2: "team-a", B: "team-b", C: "callers", OTHER: "mallory"}
    rig.core.sessions.identity_of = owners.get
    rig.join(C, "c", kind="client", group="callers")
    rig.join(A, "a", credit=1)
    rig.create(C, "p", in_ms=600_000)
    assert rig.one(A, Invoke).promise.id == "p"
    rig.join(B, "b", credit=1)
    return rig


def test_the_log_says_who_has_joined(rig: Rig) -> None:
    joined = [event.fields for event in rig.events if event.text == "joined"]
    assert [fields["identity"] for fields in joined] == ["callers", "team-a", "team-b"]


def test_without_keys_nobody_has_an_identity() -> None:
    rig = Rig()
    rig.join(A, "a")
    assert rig.core.sessions.by_peer[A].identity is None
    assert "identity" not in rig.events[-1].fields


@pytest.mark.parametrize("boot", ["1", "2"])
@pytest.mark.parametrize("silent_ms", [0, 9_999, 40_000])
def test_a_name_is_not_taken_over_by_another_key(rig: Rig, boot: str, silent_ms: int) -> None:
    session = rig.core.sessions.by_peer[A]
    session.heard_at -= silent_ms
    rig.send(OTHER, hello("a", boot=boot))
    rig.turn()
    refused = rig.one(OTHER, Refused)
    assert (refused.status, refused.fatal) == (409, True)
    assert "in use by 'team-a', and this key is that of 'mallory'" in refused.error
    assert rig.core.sessions.by_name["a"] is session
    assert rig.reply(A, TaskFulfill("p", 1, "resolved")).status == 200


def test_the_same_key_comes_back_as_before(rig: Rig) -> None:
    rig.core.connection_lost(A, rig.now)
    rig.send(A2, hello("a", credit=1, claims=(("p", 1),)))
    rig.turn()
    assert rig.one(A2, Welcome).lost == ()


def test_the_pulse_of_another_key_keeps_no_node_alive(rig: Rig) -> None:
    rig.send(OTHER, Pulse(pid_of("a", "1")))
    rig.turn()
    assert not rig.core.stalls.has_pulse(OTHER)
    rig.send(A2, Pulse(pid_of("a", "1")))
    rig.turn()
    assert rig.core.stalls.has_pulse(A2)


def test_a_revoked_peer_loses_its_tasks_at_once_and_not_as_by_a_crash(rig: Rig) -> None:
    rig.core.expulsions.apply([A], rig.now)
    rig.turn()
    resume = rig.one(B, Resume)
    assert (resume.promise.id, resume.version) == ("p", 2)
    assert A not in rig.core.sessions.by_peer
    event = rig.events[-1]
    assert (event.level, event.text) == (
        "warning", "expelled, because its key is no longer permitted",
    )  # fmt: skip
    assert event.fields["released"] == 1
    task = rig.machine.view.task("p")
    assert task is not None
    assert task.failures == 0
    assert rig.core.metrics.connections_lost == 0


def test_a_connection_that_has_said_nothing_is_expelled_without_a_word(rig: Rig) -> None:
    count = len(rig.events)
    rig.core.expulsions.apply([OTHER], rig.now)
    rig.turn()
    assert rig.events[count:] == []
