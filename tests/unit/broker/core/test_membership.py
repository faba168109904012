"""Membership: hellos, names and claims, lost connections and goodbyes, and the bounds on peers."""

from __future__ import annotations

import pytest

from tests.unit.broker.core.members import A2, A, B, C, given_members
from tests.unit.broker.core.rig import Rig, hello
from understudy_broker.protocol.messages import (
    Beat,
    Bye,
    Invoke,
    PromiseWatch,
    Refused,
    Request,
    Response,
    Resume,
    Settled,
    Welcome,
)
from understudy_store.commands import (
    PromiseCreate,
    PromiseSettle,
    TaskCreate,
    TaskFulfill,
    TaskSuspend,
)
from understudy_store.records import TAG_EXTERNAL, TAG_TARGET, Value, pid_of


@pytest.fixture
def rig() -> Rig:
    return given_members()


def test_a_lost_connection_gives_tasks_away_after_the_grace(rig: Rig) -> None:
    rig.core.connection_lost(A, rig.now)
    rig.core.connection_lost(A, rig.now)  # reported twice
    rig.pass_time(40, step_ms=10)
    assert rig.take(B, Resume) == []
    rig.pass_time(20, step_ms=10)
    assert rig.one(B, Resume).version == 2


def test_a_peer_that_is_back_within_the_grace_keeps_its_claims(rig: Rig) -> None:
    rig.core.connection_lost(A, rig.now)
    rig.pass_time(20, step_ms=10)
    assert rig.join(A2, "a", claims=(("p", 1),), credit=1).lost == ()
    rig.pass_time(200, step_ms=10)
    assert rig.take(B, Resume) == []
    assert rig.reply(A2, TaskFulfill("p", 1, "resolved")).status == 200


def test_a_task_that_a_returning_node_does_not_claim_goes_to_others(rig: Rig) -> None:
    rig.join(A2, "a", credit=0)
    rig.turn()
    assert rig.one(B, Resume).promise.id == "p"


def test_a_new_connection_of_the_same_boot_replaces_the_old(rig: Rig) -> None:
    rig.create(C, "w", target=None)
    rig.reply(A, PromiseWatch(("w",)))
    rig.join(A2, "a", claims=(("p", 1),))
    rig.reply(C, PromiseSettle("w", "resolved"))
    assert rig.take(A, Settled) == []
    assert rig.take(A2, Settled) == []  # The peer sends its watches again.
    rig.send(A, Beat())
    rig.turn()
    assert rig.refused(A) == 412


def test_replies_that_waited_for_a_commit_are_not_sent_to_an_old_connection(rig: Rig) -> None:
    corr = rig.ask(A, PromiseCreate("z", rig.now + 9_000))
    rig.step()
    rig.core.receive(A2, _hello_frame("a", (("p", 1),)), rig.now)
    rig.commit()
    assert rig.take(A, Response) == []
    # The peer asks again and is told the same.
    rig.send(A2, Request(corr, PromiseCreate("z", rig.now + 9_000)))
    rig.turn()
    assert rig.one(A2, Response).reply.ok


def test_a_session_that_has_ended_takes_no_task(rig: Rig) -> None:
    create = TaskCreate(pid_of("a", "1"), 15_000, "q", rig.now + 60_000, tags={TAG_TARGET: "g"})
    corr = rig.ask(A, create)
    # The request waits for the next step. Meanwhile the peer joins again, and claims what it knows.
    rig.core.receive(A2, _hello_frame("a", (("p", 1),)), rig.now)
    rig.turn()
    assert rig.take(A, Response) == []
    # Otherwise its heartbeats would renew the lease of a task that it knows nothing of.
    assert rig.machine.view.held(pid_of("a", "1")) == [("p", 1)]
    rig.send(A2, Request(corr, create))
    rig.turn()
    assert rig.one(A2, Response).reply.status == 201
    assert sorted(rig.machine.view.held(pid_of("a", "1"))) == [("p", 1), ("q", 1)]


def _hello_frame(name: str, claims: tuple[tuple[str, int], ...]) -> bytes:
    from understudy_broker.protocol.frames import encode

    return encode([hello(name, claims=claims)])


def test_a_living_name_is_not_taken_over(rig: Rig) -> None:
    rig.send(A2, hello("a", boot="2"))
    rig.turn()
    refused = rig.one(A2, Refused)
    assert (refused.status, refused.fatal) == (409, True)
    assert "process 1 on host" in refused.error
    assert rig.reply(A, TaskFulfill("p", 1, "resolved")).status == 200


def test_the_name_of_a_disconnected_process_is_free_at_once(rig: Rig) -> None:
    rig.core.connection_lost(A, rig.now)
    assert rig.join(A2, "a", boot="2", credit=1).pid == pid_of("a", "2")
    rig.turn()
    # It is another process, so the tasks of the old one need not wait for the grace.
    assert len(rig.take(A2, Resume) + rig.take(B, Resume)) == 1


def test_a_connection_that_takes_another_name_gives_up_its_tasks(rig: Rig) -> None:
    rig.send(A, hello("z"))
    rig.turn()
    assert rig.one(A, Welcome).pid == pid_of("z", "1")
    assert rig.one(B, Resume).promise.id == "p"


def test_the_tasks_of_a_peer_that_says_goodbye_go_to_others_at_once(rig: Rig) -> None:
    rig.send(A, Bye())
    rig.turn()
    assert rig.one(B, Resume).version == 2


def test_requests_before_a_goodbye_are_still_performed(rig: Rig) -> None:
    rig.send(A, Request(1, TaskFulfill("p", 1, "resolved")), Bye())
    rig.turn()
    assert rig.take(B, Resume) == []
    reply = rig.reply(C, PromiseSettle("p", "rejected"))
    assert reply.promise is not None
    assert reply.promise.state == "resolved"


def test_a_suspended_claim_is_no_loss(rig: Rig) -> None:
    rig.reply(C, PromiseCreate("w", rig.now + 50_000, Value({}), {TAG_EXTERNAL: "true"}))
    assert rig.reply(A, TaskSuspend("p", 1, ("w",))).status == 200
    assert rig.join(A2, "a", claims=(("p", 1), ("gone", 3)), credit=1).lost == ("gone",)
    rig.reply(C, PromiseSettle("w", "resolved"))
    assert rig.one(A2, Resume).preload is None


def test_peers_are_bounded() -> None:
    rig = Rig(peers_max=1)
    rig.join(A, "a")
    rig.send(B, hello("b"))
    rig.turn()
    refused = rig.one(B, Refused)
    assert (refused.status, refused.fatal) == (429, False)
    assert rig.take(B, Welcome) == []


def test_a_repeated_hello_does_no_harm(rig: Rig) -> None:
    for _ in range(3):
        assert rig.join(A, "a", claims=(("p", 1),), credit=1).lost == ()
    assert rig.take(B, Resume) == []
    rig.create(C, "q")
    rig.create(C, "r")
    rig.create(C, "s")
    sent = [m.promise.id for peer in (A, B) for m in rig.take(peer, Invoke)]
    assert sorted(sent) == ["q", "r", "s"]


def test_too_many_connections_are_logged_once_a_minute() -> None:
    rig = Rig(connections_max=3)
    rig.join(A, "a")
    # Strangers connect, and no frame comes.
    rig.core.note_connections(4, rig.now)
    rig.turn()
    [said] = [event.text for event in rig.events if "connections are open" in event.text]
    assert said.startswith("4 connections are open, and the limit of open files allows 3: ")
    rig.send(B, hello("b"))
    rig.turn()
    refused = rig.one(B, Refused)
    assert (refused.status, refused.fatal) == (429, False)
    assert refused.error.startswith("it has 4 connections, and its limit of open files")
    rig.send(A, hello("a"))
    rig.turn()
    rig.one(A, Welcome)  # It is known already, so it is no newcomer.
    for count in (5, 4, 5):
        rig.core.note_connections(count, rig.now)
    assert [event.text for event in rig.events if "connections are open" in event.text] == [said]
    rig.pass_time(60_000, step_ms=1_000)
    rig.core.note_connections(6, rig.now)
    rig.turn()
    assert [e.text[:13] for e in rig.events if "connections are open" in e.text] == [
        "4 connections",
        "6 connections",
    ]
    rig.core.note_connections(3, rig.now)
    rig.join(B, "b")
