"""Members of groups behind an edge: offers, unblocks, and leases of holders that are no peers."""

from __future__ import annotations

import pytest

from tests.unit.broker.core.rig import Rig
from understudy_broker.protocol.messages import (
    Ack,
    Attach,
    Beat,
    Detach,
    Execute,
    GroupsGet,
    Invoke,
    Refused,
    Response,
    Unblock,
)
from understudy_store.commands import (
    PromiseCreate,
    PromiseRegisterListener,
    PromiseSettle,
    TaskAcquire,
    TaskCreate,
    TaskFence,
    TaskGet,
    TaskHeartbeat,
    TaskRelease,
)
from understudy_store.records import TAG_EXTERNAL, TAG_TARGET, Value, foreign_pid, pid_of

EDGE, OTHER, NODE, CLIENT = b"e", b"o", b"n", b"c"
PID = foreign_pid("them")


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.join(EDGE, "edge-1", group="edges", kind="edge")
    return rig


def attach(rig: Rig, name: str = "m", group: str = "g", peer: bytes = EDGE) -> None:
    rig.send(peer, Attach(group, name))
    rig.turn()


def executes(rig: Rig, peer: bytes = EDGE) -> list[tuple[str, int, str]]:
    return [(each.id, each.version, each.name) for each in rig.take(peer, Execute)]


def acquire(rig: Rig, id_: str, version: int = 0, ttl: int = 10_000, pid: str = PID) -> int:
    return rig.reply(EDGE, TaskAcquire(id_, version, pid, ttl)).status


# Offers ------------------------------------------------------------------------------------------


def test_a_task_is_offered_and_not_acquired(rig: Rig) -> None:
    attach(rig)
    rig.create(EDGE, "a")
    assert rig.take(EDGE, Execute) == [Execute("g", "m", "a", 0)]
    task = rig.reply(EDGE, TaskGet("a")).task
    assert task is not None
    assert (task.state, task.version) == ("pending", 0)
    assert acquire(rig, "a") == 200
    assert acquire(rig, "a") == 409


def test_tasks_that_wait_are_offered_to_a_new_member(rig: Rig) -> None:
    rig.create(EDGE, "a")
    assert executes(rig) == []
    attach(rig)
    assert executes(rig) == [("a", 0, "m")]


def test_what_nobody_acquires_is_offered_again(rig: Rig) -> None:
    attach(rig)
    rig.create(EDGE, "a", in_ms=10**9)
    assert executes(rig) == [("a", 0, "m")]
    for second in range(70):
        rig.send(EDGE, Beat())
        rig.pass_time(1_000)
        if again := executes(rig):
            assert (again, second >= 58) == ([("a", 0, "m")], True)
            return
    raise AssertionError("it is never offered again")


def test_members_and_nodes_have_turns(rig: Rig) -> None:
    rig.join(NODE, "node-1", credit=10)
    attach(rig, "m1")
    attach(rig, "m2")
    for n in range(9):
        rig.create(EDGE, f"t{n}")
    names = [name for _, _, name in executes(rig)]
    assert (names.count("m1"), names.count("m2")) == (3, 3)
    assert len(rig.take(NODE, Invoke)) == 3


def test_a_task_for_one_member_alone(rig: Rig) -> None:
    attach(rig, "m1")
    attach(rig, "m2")
    rig.create(EDGE, "a", "poll://uni@g/m2")
    rig.create(EDGE, "b", "poll://uni@g/m3")
    assert executes(rig) == [("a", 0, "m2")]
    attach(rig, "m3")
    assert executes(rig) == [("b", 0, "m3")]


def test_a_member_never_runs_out_of_credit(rig: Rig) -> None:
    attach(rig)
    for n in range(3_000):
        rig.ask(EDGE, PromiseCreate(f"t{n}", rig.now + 60_000, Value({}), {TAG_TARGET: "g"}))
        if n % 500 == 0:
            rig.turn()
    rig.turn()
    assert len(executes(rig)) == 3_000


def test_what_a_member_has_not_taken_when_it_goes_is_offered_to_others(rig: Rig) -> None:
    attach(rig, "m1")
    for id_ in ("taken", "given back", "waits", "settled"):
        rig.create(EDGE, id_)
    assert len(executes(rig)) == 4
    assert acquire(rig, "taken") == 200
    assert acquire(rig, "given back") == 200
    rig.reply(EDGE, PromiseSettle("settled", "resolved"))
    attach(rig, "m2")
    rig.send(EDGE, Detach("g", "m1"))
    rig.turn()
    assert executes(rig) == [("waits", 0, "m2")]
    rig.reply(EDGE, TaskRelease("given back", 1))
    assert executes(rig) == [("given back", 1, "m2")]


def test_what_an_edge_carried_is_offered_to_others_when_it_is_gone(rig: Rig) -> None:
    attach(rig, "m1")
    rig.create(EDGE, "a")
    rig.join(NODE, "node-1", credit=1)
    rig.core.connection_lost(EDGE, rig.now)
    rig.turn()
    assert [each.promise.id for each in rig.take(NODE, Invoke)] == ["a"]


def test_two_edges_with_one_name(rig: Rig) -> None:
    rig.join(OTHER, "edge-2", group="edges", kind="edge")
    attach(rig)
    attach(rig, peer=OTHER)
    attach(rig, peer=OTHER)
    rig.create(EDGE, "a")
    assert (len(executes(rig)), len(executes(rig, OTHER))) == (1, 0)
    rig.send(EDGE, Detach("g", "m"))
    rig.turn()
    assert executes(rig, OTHER) == [("a", 0, "m")]  # the first one has hardly told its client
    rig.create(EDGE, "b")
    assert executes(rig, OTHER) == [("b", 0, "m")]
    rig.send(OTHER, Detach("g", "m"), Detach("g", "m"), Detach("g", "unknown"))
    rig.turn()
    rig.create(EDGE, "c")
    assert executes(rig) + executes(rig, OTHER) == []


def test_a_rejoined_edge_attaches_again(rig: Rig) -> None:
    attach(rig)
    rig.join(EDGE, "edge-1", group="edges", kind="edge")
    rig.create(EDGE, "a")
    assert executes(rig) == []
    attach(rig)
    assert executes(rig) == [("a", 0, "m")]


@pytest.mark.parametrize(("group", "name"), [("", "m"), ("g", ""), ("g g", "m"), ("g", "a/b")])
def test_a_name_that_is_none_is_refused(rig: Rig, group: str, name: str) -> None:
    attach(rig, name, group)
    assert rig.refused(EDGE) == 400


def test_only_an_edge_attaches(rig: Rig) -> None:
    rig.join(CLIENT, "client-1", kind="client")
    attach(rig, peer=CLIENT)
    assert rig.refused(CLIENT) == 400
    rig.create(CLIENT, "a")
    assert rig.take(CLIENT, Execute) == []


def test_the_name_of_a_node(rig: Rig) -> None:
    rig.join(NODE, "m", credit=1)
    attach(rig)
    assert rig.one(EDGE, Refused).status == 400
    # a node that comes later takes the place of the member
    attach(rig, "m2")
    rig.join(OTHER, "m2", credit=1)
    rig.create(EDGE, "a", "poll://uni@g/m2")
    assert executes(rig) == []
    assert len(rig.take(OTHER, Invoke)) == 1
    rig.core.connection_lost(OTHER, rig.now)
    rig.turn()
    rig.create(EDGE, "b")
    rig.create(EDGE, "c")
    assert len(rig.take(NODE, Invoke)) == 1


def test_the_report_has_members(rig: Rig) -> None:
    rig.join(NODE, "node-1", credit=1)
    attach(rig, "m2")
    attach(rig, "m1")
    attach(rig, "m", "other")
    corr = rig.ask(EDGE, GroupsGet())
    rig.turn()
    (response,) = [each for each in rig.take(EDGE, Response) if each.corr == corr]
    assert response.report is not None
    names = {group.name: [n.name for n in group.nodes] for group in response.report.groups}
    assert names == {"g": ["node-1", "m1", "m2"], "other": ["m"]}


# Unblocks ----------------------------------------------------------------------------------------


def listen(rig: Rig, id_: str, address: str) -> None:
    rig.reply(EDGE, PromiseCreate(id_, rig.now + 10**9, Value({}), {TAG_EXTERNAL: "true"}))
    assert rig.reply(EDGE, PromiseRegisterListener(id_, address)).ok


@pytest.mark.parametrize("address", ["poll://uni@g/m", "poll://any@g", "poll://any@g/x"])
def test_an_unblock_goes_to_a_member_until_it_is_acknowledged(rig: Rig, address: str) -> None:
    attach(rig)
    listen(rig, "a", address)
    rig.reply(EDGE, PromiseSettle("a", "resolved"))
    unblock = rig.one(EDGE, Unblock)
    assert (unblock.address, unblock.promise.id) == (address, "a")
    rig.pass_time(6_000)
    assert rig.take(EDGE, Unblock)
    rig.send(EDGE, Ack("a", address))
    rig.turn()
    rig.pass_time(6_000)
    assert rig.take(EDGE, Unblock) == []


def test_an_unblock_waits_for_its_member(rig: Rig) -> None:
    listen(rig, "a", "poll://uni@g/m")
    listen(rig, "b", "poll://uni@g/m2")
    for id_ in "ab":
        rig.reply(EDGE, PromiseSettle(id_, "resolved"))
    assert rig.take(EDGE, Unblock) == []
    attach(rig)
    assert [each.promise.id for each in rig.take(EDGE, Unblock)] == ["a"]


# Leases ------------------------------------------------------------------------------------------


def state(rig: Rig, id_: str) -> str:
    task = rig.reply(EDGE, TaskGet(id_)).task
    assert task is not None
    return task.state


def test_leases_last_for_their_ttl_whoever_is_connected(rig: Rig) -> None:
    rig.create(EDGE, "a", in_ms=10**9)
    assert acquire(rig, "a", ttl=100_000) == 200
    rig.core.connection_lost(EDGE, rig.now)
    rig.pass_time(60_000, 1_000)
    rig.join(OTHER, "edge-2", group="edges", kind="edge")
    renewed = TaskHeartbeat(PID, (("a", 1),))
    assert rig.reply(OTHER, renewed).ok
    rig.pass_time(2_000)
    assert rig.machine.view.holds(PID, "a", 1)
    rig.pass_time(100_000, 1_000)
    assert not rig.machine.view.holds(PID, "a", 1)


def test_a_restart_of_the_broker_lets_them_go_on(rig: Rig) -> None:
    rig.create(EDGE, "a", in_ms=10**9)
    assert acquire(rig, "a", ttl=30_000) == 200
    after = Rig(engine=rig.engine, start=rig.now + 1_000)
    after.pass_time(20_000, 1_000)  # longer than the grace of peers
    assert after.machine.view.holds(PID, "a", 1)
    after.pass_time(11_000, 1_000)
    assert not after.machine.view.holds(PID, "a", 1)


def test_an_edge_acts_for_its_clients_only(rig: Rig) -> None:
    rig.create(EDGE, "a")
    for pid in (pid_of("edge-1", "1"), pid_of("node-1", "1"), ""):
        assert acquire(rig, "a", pid=pid) == 400
    create = TaskCreate(pid_of("node-1", "1"), 10, "b", rig.now + 10, Value({}), {TAG_TARGET: "g"})
    assert rig.reply(EDGE, create).status == 400
    assert rig.reply(EDGE, TaskHeartbeat(pid_of("node-1", "1"))).status == 400


def test_no_other_peer_acts_for_them(rig: Rig) -> None:
    rig.join(NODE, "node-1")
    rig.create(EDGE, "a")
    assert rig.reply(NODE, TaskAcquire("a", 0, PID, 10)).status == 400
    assert rig.reply(NODE, TaskHeartbeat(PID, (("a", 1),))).status == 400


# Fences ------------------------------------------------------------------------------------------


def test_a_full_fence_answers_with_the_promises(rig: Rig) -> None:
    rig.create(EDGE, "a")
    acquire(rig, "a")
    create = PromiseCreate("a.1", rig.now + 100, Value({"h": "1"}))
    reply = rig.reply(EDGE, TaskFence("a", 1, (create,), full=True))
    assert reply.replies is not None
    (made,) = reply.replies
    assert made is not None
    assert made.promise is not None
    assert (made.status, made.promise.id, made.promise.param) == (201, "a.1", create.param)
    settle = PromiseSettle("a.1", "resolved", Value({}, b"1"))
    reply = rig.reply(EDGE, TaskFence("a", 1, (settle,), full=True))
    assert reply.replies is not None
    (done,) = reply.replies
    assert done is not None
    assert done.promise is not None
    assert (done.status, done.promise.state) == (200, "resolved")
    assert rig.reply(EDGE, TaskFence("a", 1, (settle,))).replies != [None]
