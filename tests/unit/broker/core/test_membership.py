"""Membership: hellos, leases, lost connections, restarts of the broker, and gaps of its own."""

from __future__ import annotations

import pytest

from tests.unit.broker.core.rig import Rig, hello
from understudy_broker.protocol.messages import (
    Beat,
    Bye,
    Invoke,
    PromiseWatch,
    Pulse,
    Refused,
    Request,
    Response,
    Resume,
    Settled,
    Unblock,
    Welcome,
)
from understudy_store.commands import (
    PromiseCreate,
    PromiseRegisterListener,
    PromiseSettle,
    TaskCreate,
    TaskFulfill,
    TaskGet,
    TaskSuspend,
)
from understudy_store.records import TAG_EXTERNAL, TAG_TARGET, Value

A, A2, B, C = b"peer-a", b"peer-a-again", b"peer-b", b"peer-c"
PULSE = b"pulse-of-a"


@pytest.fixture
def rig() -> Rig:
    """Node `a` holds task p; node `b` has room too."""
    rig = Rig()
    rig.join(C, "c", kind="client", group="callers")
    rig.join(A, "a", credit=2)
    rig.create(C, "p")
    rig.one(A, Invoke)
    rig.join(B, "b", credit=2)
    return rig


def beats(rig: Rig, ms: int, *peers: bytes) -> None:
    """Let time pass in which only these peers send heartbeats."""
    for _ in range(ms // 1_000):
        for peer in peers:
            rig.send(peer, Beat())
        rig.pass_time(1_000, step_ms=500)


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


def warnings(rig: Rig) -> list[str]:
    return [event.text for event in rig.events if event.level == "warning"]


def pulse(rig: Rig, name: str, peer: bytes = PULSE) -> None:
    rig.send(peer, Pulse(f"{name}#1"))
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
    assert rig.core.take_relied_on() == set()
    beats(rig, 2_000, B, C)
    assert rig.core.take_relied_on() == {PULSE}
    assert rig.core.take_relied_on() == set()
    beats(rig, 1_000, B, C)
    rig.core.connection_lost(PULSE, rig.now)
    assert rig.core.take_relied_on() == set(), "it has ended"


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
    create = TaskCreate("a#1", 15_000, "q", rig.now + 60_000, tags={TAG_TARGET: "g"})
    corr = rig.ask(A, create)
    # The request waits for the next step. Meanwhile the peer joins again, and claims what it knows.
    rig.core.receive(A2, _hello_frame("a", (("p", 1),)), rig.now)
    rig.turn()
    assert rig.take(A, Response) == []
    # Otherwise its heartbeats would renew the lease of a task that it knows nothing of.
    assert rig.machine.view.held("a#1") == [("p", 1)]
    rig.send(A2, Request(corr, create))
    rig.turn()
    assert rig.one(A2, Response).reply.status == 201
    assert sorted(rig.machine.view.held("a#1")) == [("p", 1), ("q", 1)]


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
    assert rig.join(A2, "a", boot="2", credit=1).pid == "a#2"
    rig.turn()
    # It is another process, so the tasks of the old one need not wait for the grace.
    assert len(rig.take(A2, Resume) + rig.take(B, Resume)) == 1


def test_a_connection_that_takes_another_name_gives_up_its_tasks(rig: Rig) -> None:
    rig.send(A, hello("z"))
    rig.turn()
    assert rig.one(A, Welcome).pid == "z#1"
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
