"""Each command needs its right, and what a function does under its own task needs none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.broker.core.rig import Rig, hello
from understudy_broker.core.authorization import Authorization
from understudy_broker.keys.grants import EVERYTHING, NO_NAMES, NOTHING, Grant, Names
from understudy_broker.keys.rights import BROKERS
from understudy_broker.protocol.messages import (
    Ack,
    AnyCommand,
    Attach,
    Delegated,
    FunctionsGet,
    GroupPause,
    GroupsGet,
    Invoke,
    PromiseCreateWatched,
    PromiseUnwatch,
    PromiseWatch,
    Refused,
    Response,
    Unblock,
)
from understudy_store.commands import (
    CallSearch,
    PromiseCancel,
    PromiseCreate,
    PromiseGet,
    PromiseOccur,
    PromiseRegisterCallback,
    PromiseRegisterListener,
    PromiseSearch,
    PromiseSettle,
    ScheduleCreate,
    ScheduleDelete,
    ScheduleGet,
    ScheduleSearch,
    TaskAcquire,
    TaskAttempts,
    TaskContinue,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskGet,
    TaskHalt,
    TaskHeartbeat,
    TaskPreload,
    TaskRelease,
    TaskRetry,
    TaskSearch,
    TaskSuspend,
)
from understudy_store.machine import Machine, MachineConfig
from understudy_store.records import (
    EMPTY,
    TAG_BRANCH,
    TAG_IDENTITY,
    TAG_ORIGIN,
    TAG_PARENT,
    TAG_TARGET,
    pid_of,
)

A, B, C, E = b"peer-a", b"peer-b", b"peer-c", b"peer-e"
LATER = 2_000_000


def names(*prefixes: str) -> Names:
    return Names(prefixes=prefixes)


class Peer:
    kind: Any = "client"
    group = "g"
    pid = "c#1"

    def __init__(self, identity: str | None = "me", kind: str = "client") -> None:
        self.identity = identity
        self.kind = kind


def refusal(grant: Grant, command: AnyCommand, kind: str = "client") -> str | None:
    rights = Authorization({"me": grant}.get, Machine(MachineConfig()).view)
    text = rights.refusal(Peer(kind=kind), command)
    if text is None and isinstance(command, TaskFence):
        return next(iter(rights.fenced(Peer(kind=kind), "me", command).values()), None)
    return text


CALL = {TAG_TARGET: "g"}
CREATE = PromiseCreate("a/1", LATER, tags=CALL)
#: each command, with the rights that it needs, all of which it needs
ROWS: list[tuple[AnyCommand, dict[str, Any]]] = [
    (PromiseCreate("a/1", LATER), {"ids": names("a/")}),
    (CREATE, {"ids": names("a/"), "call": names("g")}),
    (PromiseCreateWatched(CREATE), {"ids": names("a/"), "call": names("g")}),
    (TaskCreate("p", 1, "a/1", LATER, tags=CALL), {"ids": names("a/"), "call": names("g")}),
    (PromiseGet("a/1"), {"ids": names("a/")}),
    (TaskGet("a/1"), {"ids": names("a/")}),
    (PromiseWatch(("a/1", "b/1")), {"ids": names("a/", "b/")}),
    (PromiseSettle("a/1", "resolved"), {"settle": names("a/")}),
    (PromiseCancel("a/1"), {"cancel": names("a/")}),
    (PromiseRegisterCallback("a/1", "b/1"), {"ids": names("a/", "b/")}),
    (PromiseRegisterListener("a/1", "g"), {"ids": names("a/"), "call": names("g")}),
    (PromiseSearch(prefix="a/1"), {"search": names("a/")}),
    (PromiseSearch(origin="a/1"), {"search": names("a/")}),
    (CallSearch(prefix="a/1"), {"search": names("a/")}),
    (TaskAttempts("a/1"), {"ids": names("a/")}),
    (TaskAcquire("a/1", 1, "p", 1), {"serve": names("")}),
    (TaskSuspend("a/1", 1, ("a/1.1", "b/1")), {"ids": names("b/")}),
    (TaskFence("a/1", 1, (PromiseCreate("b/1", LATER),)), {"ids": names("b/")}),
    (TaskFence("a/1", 1, (PromiseCreate("a/1.1", LATER, tags=CALL),)), {"call": names("g")}),
    (TaskFence("a/1", 1, (PromiseSettle("b/1", "resolved"),)), {"settle": names("b/")}),
    (TaskSearch(group="g"), {"serve": names("g")}),
    (TaskSearch(), {"admin": frozenset({"tasks"})}),
    (TaskHalt("a/1"), {"admin": frozenset({"halt"})}),
    (TaskContinue("a/1"), {"admin": frozenset({"continue"})}),
    (TaskRetry("a/1"), {"admin": frozenset({"retry"})}),
    (GroupPause("a-g"), {"admin": frozenset({"pause"})}),
    (
        ScheduleCreate("a/s", "* * * * *", "b/{timestamp}", 1, promise_tags=CALL),
        {"schedule": names("a/"), "ids": names("b/"), "call": names("g")},
    ),
    (
        ScheduleCreate("a/s", "* * * * *", "{id}.{timestamp}", 1),
        {"schedule": names("a/"), "ids": names("a/s")},
    ),
    *[(kind("a/s"), {"schedule": names("a/")}) for kind in (ScheduleGet, ScheduleDelete)],
    (ScheduleSearch("a/"), {"schedule": names("a/")}),
    *[(FunctionsGet("g"), {right: names("g")}) for right in ("call", "serve")],
]


@pytest.mark.parametrize(("command", "rights"), ROWS, ids=str)
def test_a_command_needs_all_of_its_rights_and_no_other(
    command: AnyCommand, rights: dict[str, Any]
) -> None:
    assert refusal(NOTHING._replace(**rights), command) is None
    for missing in rights:
        # With the beginnings that it needs taken away, all else in place.
        without = {**rights, missing: frozenset() if missing == "admin" else names("z")}
        text = refusal(NOTHING._replace(**without), command)
        assert text is not None
        assert "'me' lacks the right" in text
        assert (
            f"{missing} = [" in text
            or (missing == "serve" and "admin = [" in text)
            or (missing in {"serve", "call"} and "call = [" in text)
        )


@pytest.mark.parametrize(
    "command",
    [
        PromiseUnwatch(("a/1",)),
        TaskHeartbeat("c#1"),
        GroupsGet(),
        TaskFulfill("a/1", 1, "resolved"),
    ],
    ids=lambda command: type(command).__name__,
)
def test_what_concerns_the_peer_itself_needs_no_right(command: AnyCommand) -> None:
    assert refusal(NOTHING, command) is None


@pytest.mark.parametrize(
    "command",
    [
        PromiseOccur("s", 1, "a/1", 1, 1, EMPTY, {}),
        TaskFulfill("a/1", 1, "resolved"),
        TaskPreload("a/1", 1),
    ],
)
def test_what_only_others_may_ask_for(command: AnyCommand) -> None:
    kind = "client" if isinstance(command, PromiseOccur) else "edge"
    assert refusal(EVERYTHING._replace(serve=NO_NAMES), command, kind) is not None


@pytest.mark.parametrize("tag", [TAG_BRANCH, TAG_ORIGIN, TAG_PARENT])
def test_a_call_graph_takes_in_nothing_from_strangers(tag: str) -> None:
    grant = NOTHING._replace(ids=names("b/"))
    create = PromiseCreate("b/1", LATER, tags={tag: "a/1"})
    for command in (
        create,
        PromiseCreateWatched(create),
        TaskFence("b/0", 1, (create,)),
        TaskFence("b/1", 1, (PromiseCreate("b/1.1", LATER, tags={tag: "a/1"}),)),
    ):
        text = refusal(grant, command)
        assert text is not None
        assert "'a/1'" in text
    schedule = ScheduleCreate("b/s", "* * * * *", "b/{timestamp}", 1, promise_tags={tag: "a/1"})
    assert refusal(grant._replace(schedule=names("b/")), schedule) is not None


def test_without_keys_everything_is_permitted() -> None:
    rights = Authorization(None, Machine(MachineConfig()).view)
    assert rights.refusal(Peer(None), PromiseCancel("a/1")) is None
    assert rights.join_refusal("broker", "g", None) is None
    rig = Rig()
    rig.join(C, "c", kind="client")
    assert rig.reply(C, PromiseGet("p")).status == 404


# In a broker ------------------------------------------------------------------------------------

TEAM_A = Grant(serve=names("a-"), call=names("a-", "mail"), ids=names("a/"), search=names("a/"))
TEAM_B = Grant(serve=names("b-", "mail"), call=names("b-"), ids=names("b/"), settle=names("b/"))
GRANTS = {
    "a/node": TEAM_A,
    "b/node": TEAM_B,
    "a/client": TEAM_A,
    "edge": NOTHING._replace(edge=names("a/")),
    BROKERS: EVERYTHING,
}


def rig_of(**grants: Grant) -> Rig:
    """A node of each team, and a client of team A; `mail` is served by team B."""
    table = {**GRANTS, **grants}
    rig = Rig(grant_of=table.get)
    whose = {A: "a/node", B: "b/node", C: "a/client", E: "edge"}
    rig.core.sessions.identity_of = whose.get
    rig.join(A, "a", group="a-x", credit=10)
    rig.join(B, "b", group="mail", credit=10)
    rig.join(C, "c", kind="client", group="a-x")
    rig.join(E, "e", kind="edge", group="edges")
    return rig


@pytest.fixture
def rig() -> Rig:
    return rig_of()


def test_a_refused_command_changes_nothing_and_says_the_same_of_all_ids(rig: Rig) -> None:
    assert rig.create(C, "a/1", "a-x").status == 201
    taken = rig.reply(B, PromiseGet("a/1"))
    absent = rig.reply(B, PromiseGet("a/2"))
    assert (taken.status, absent.status) == (403, 403)
    assert taken.error is not None
    assert absent.error is not None
    assert taken.error.replace("a/1", "a/2") == absent.error
    assert rig.reply(B, PromiseSettle("a/1", "resolved")).status == 403
    assert rig.reply(C, PromiseGet("a/1")).promise.state == "pending"  # type: ignore[union-attr]


def test_who_has_asked_is_stored_and_cannot_be_forged(rig: Rig) -> None:
    forged = {TAG_TARGET: "a-x", TAG_IDENTITY: "b/node"}
    rig.reply(C, PromiseCreateWatched(PromiseCreate("a/1", LATER, tags=forged)))
    assert rig.one(A, Invoke).promise.tags[TAG_IDENTITY] == "a/client"
    inner = PromiseCreate("a/1.1", LATER, tags={TAG_IDENTITY: "b/node"})
    assert rig.reply(A, TaskFence("a/1", 1, (inner,))).ok
    schedule = ScheduleCreate("a/s", "* * * * *", "a/{timestamp}", 1, promise_tags=forged)
    rig.core.config.grant_of.__self__["a/client"] = TEAM_A._replace(schedule=names("a/"))  # type: ignore[union-attr]
    assert rig.reply(C, schedule).ok
    stored = rig.reply(C, PromiseGet("a/1.1")).promise
    assert stored is not None
    assert stored.tags[TAG_IDENTITY] == "a/node"
    assert rig.reply(C, ScheduleGet("a/s")).schedule.promise_tags[TAG_IDENTITY] == "a/client"  # type: ignore[union-attr]


def test_a_function_works_below_its_task_whosever_the_id_is(rig: Rig) -> None:
    """Team A calls the group `mail`, whose node is team B's."""
    rig.create(C, "a/1", "mail")
    assert rig.one(B, Invoke).promise.id == "a/1"
    child = PromiseCreate("a/1.1", LATER, tags={TAG_ORIGIN: "a/1", TAG_BRANCH: "a/1"})
    assert rig.reply(B, TaskFence("a/1", 1, (child,))).ok
    assert rig.reply(B, PromiseWatch(("a/1.1",))).ok
    assert rig.reply(B, PromiseGet("a/1")).ok
    assert rig.reply(B, TaskFence("a/1", 1, (PromiseSettle("a/1.1", "resolved"),))).ok
    assert rig.reply(B, TaskFulfill("a/1", 1, "resolved")).ok
    # Nothing of it is its own any more, but what it has created.
    assert rig.reply(B, PromiseGet("a/1")).status == 403
    assert rig.reply(B, PromiseGet("a/1.1")).ok
    assert rig.reply(B, PromiseCancel("a/1.2")).status == 403


def test_of_a_fence_only_that_is_refused_which_lacks_a_right(rig: Rig) -> None:
    rig.create(C, "a/1", "mail")
    rig.one(B, Invoke)
    inner = (
        PromiseCreate("a/1.1", LATER, tags={TAG_TARGET: "b-x"}),
        PromiseCreate("a/1.2", LATER, tags={TAG_TARGET: "a-x"}),
        PromiseCreate("a/2", LATER),
        PromiseCreate("b/2", LATER),
    )
    reply = rig.reply(B, TaskFence("a/1", 1, inner))
    assert reply.ok
    assert [None if each is None else each.status for each in reply.replies or ()] == [
        None, 403, 403, None,
    ]  # fmt: skip
    assert reply.replies is not None
    assert "call = ['a-x']" in (reply.replies[1].error or "")  # type: ignore[union-attr]
    assert rig.reply(C, PromiseGet("a/1.1")).ok
    assert rig.reply(C, PromiseGet("a/1.2")).status == 404
    assert rig.reply(C, PromiseGet("a/2")).status == 404
    assert rig.reply(A, TaskFence("a/1", 1, (PromiseCreate("b/3", LATER),))).status == 403


def test_a_task_belongs_to_the_session_that_holds_it() -> None:
    rig = rig_of(**{"b/node": EVERYTHING})
    rig.create(C, "a/1", "a-x")
    assert rig.one(A, Invoke).promise.id == "a/1"
    assert rig.reply(B, TaskPreload("a/1", 1)).status == 403
    assert rig.reply(B, TaskFulfill("a/1", 1, "resolved")).status == 403
    assert rig.reply(B, PromiseSettle("a/1", "resolved")).status == 403
    assert rig.reply(A, TaskFulfill("a/1", 1, "resolved")).ok


def test_a_peer_joins_only_as_what_it_may_be(rig: Rig) -> None:
    rig.core.sessions.identity_of = {b"1": "b/node", b"2": "a/client", b"3": None}.get
    rig.send(b"1", hello("n1", group="a-x"))
    rig.send(b"2", hello("n2", group="x", kind="edge"))
    rig.send(b"3", hello("n3", group="x", kind="broker"))
    rig.turn()
    for peer, said in ((b"1", "serve = ['a-x']"), (b"2", "edge = "), (b"3", "no broker")):
        refused = rig.one(peer, Refused)
        assert (refused.status, refused.fatal) == (403, True)
        assert said in refused.error


def test_a_place_that_is_taken_away_ends_the_session_and_frees_its_tasks(rig: Rig) -> None:
    rig.create(C, "a/1", "mail")
    assert rig.one(B, Invoke).promise.id == "a/1"
    rig.core.expulsions.apply([], rig.now)
    rig.turn()
    assert B in rig.core.sessions
    rig.core.config.grant_of.__self__["b/node"] = TEAM_B._replace(serve=NO_NAMES)  # type: ignore[union-attr]
    rig.core.expulsions.apply([], rig.now)
    rig.turn()
    assert rig.one(B, Refused).status == 403
    assert B not in rig.core.sessions
    assert rig.core.machine.view.task("a/1").pid is None  # type: ignore[union-attr]


def test_the_report_shows_the_groups_that_one_serves_or_calls(rig: Rig) -> None:
    def shown(peer: bytes, command: AnyCommand) -> list[str]:
        rig.ask(peer, command)
        rig.turn()
        report = rig.one(peer, Response).report
        assert report is not None
        return [group.name for group in report.groups]

    assert shown(C, GroupsGet()) == ["a-x", "mail"]
    assert shown(B, GroupsGet()) == ["mail"]
    assert shown(E, GroupsGet()) == []
    assert shown(E, Delegated("a/client", GroupsGet())) == ["a-x", "mail"]


def test_an_edge_asks_for_others_whose_rights_then_decide(rig: Rig) -> None:
    create = PromiseCreate("a/1", LATER, tags={TAG_TARGET: "a-x"})
    assert rig.reply(E, create).status == 403
    assert rig.reply(E, Delegated("a/client", create)).status == 201
    assert rig.one(A, Invoke).promise.tags[TAG_IDENTITY] == "a/client"
    assert rig.reply(E, Delegated("a/client", PromiseGet("b/1"))).status == 403
    not_its = rig.reply(E, Delegated("b/node", PromiseGet("b/1")))
    assert not_its.status == 403
    assert not_its.error is not None
    assert "edge = ['b/node']" in not_its.error
    unknown = rig.reply(E, Delegated("a/nobody", PromiseGet("a/1")))
    assert unknown.error == "there is no identity 'a/nobody' in the rights of the broker"
    rig.core.config.grant_of.__self__["edge"] = EVERYTHING  # type: ignore[union-attr]
    of_brokers = rig.reply(E, Delegated(BROKERS, PromiseGet("a/1")))
    assert of_brokers.error == f"there is no identity {BROKERS!r} in the rights of the broker"
    by_client = rig.reply(C, Delegated("a/client", PromiseGet("a/1")))
    assert by_client.error == "only an edge may ask for somebody else"


def test_an_edge_listens_only_at_groups_that_its_client_may_serve(rig: Rig) -> None:
    rig.send(E, Attach("mail", "m1", "a/client"))
    rig.turn()
    refused = rig.one(E, Refused)
    assert (refused.status, "serve = ['mail']" in refused.error) == (403, True)
    rig.send(E, Attach("a-y", "m1", "a/client"))
    rig.turn()
    assert rig.create(C, "a/9", "a-y").status == 201
    assert rig.take(E, Refused) == []


def test_a_name_is_kept_for_the_identity_whose_connection_has_ended(rig: Rig) -> None:
    rig.create(C, "a/1", "a-x")
    rig.one(A, Invoke)
    rig.core.connection_lost(A, rig.now)
    rig.core.sessions.identity_of = {b"1": "b/node", b"2": "a/node"}.get
    rig.send(b"1", hello("a", kind="client", boot="2"))
    rig.turn()
    refused = rig.one(b"1", Refused)
    assert (refused.status, "kept for 'a/node'" in refused.error) == (409, True)
    assert rig.core.machine.view.task("a/1").pid == pid_of("a", "1")  # type: ignore[union-attr]
    rig.join(b"2", "a", group="a-x", claims=(("a/1", 1),))


def test_after_a_start_nobody_knows_whose_a_name_was_so_its_grace_goes_on(rig: Rig) -> None:
    rig.create(C, "a/1", "a-x")
    rig.one(A, Invoke)
    again = Rig(rig.engine, start=rig.now, grant_of=GRANTS.get)
    again.core.sessions.identity_of = {b"1": "a/client"}.get
    again.join(b"1", "a", kind="client", boot="2")
    assert again.core.machine.view.task("a/1").pid == pid_of("a", "1")  # type: ignore[union-attr]
    again.pass_time(again.config.boot_grace_ms + 100)
    assert again.core.machine.view.task("a/1").pid is None  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["client", "node"])
@pytest.mark.parametrize("boot", ["1", "2"])
def test_after_a_start_nobody_takes_a_name_whose_tasks_he_may_not_have(
    rig: Rig, kind: Any, boot: str
) -> None:
    rig.create(C, "a/1", "a-x")
    rig.one(A, Invoke)
    again = Rig(rig.engine, start=rig.now, grant_of=GRANTS.get)
    again.core.sessions.identity_of = {b"1": "b/node", b"2": "a/node"}.get
    again.send(b"1", hello("a", group="b-x", kind=kind, boot=boot, claims=(("a/1", 1),)))
    again.turn()
    refused = again.one(b"1", Refused)
    assert (refused.status, "tasks 'b/node' may not have" in refused.error) == (409, True)
    assert again.join(b"2", "a", group="a-x", claims=(("a/1", 1),)).lost == ()


def test_a_client_hears_nothing_of_a_group_that_it_may_not_serve(rig: Rig) -> None:
    """A client may name any group in its hello."""
    rig.core.sessions.identity_of = {b"1": "b/node", b"2": "a/client"}.get
    rig.join(b"1", "spy", kind="client", group="a-l")
    rig.create(C, "a/1", "a-nobody")
    for address in ("poll://any@a-l", "poll://any@a-l/spy", "poll://uni@a-l/spy"):
        assert rig.reply(C, PromiseRegisterListener("a/1", address)).ok
    rig.reply(C, PromiseCancel("a/1"))
    rig.send(b"1", *(Ack("a/1", each) for each in ("poll://any@a-l", "poll://uni@a-l/spy")))
    rig.pass_time(rig.config.unblock_retry_ms + 1)
    assert not rig.take(b"1", Unblock)
    rig.send(b"1", hello("spy", kind="client", group="a-l"))
    rig.turn()
    assert not rig.take(b"1", Unblock)
    rig.join(b"2", "right", kind="client", group="a-l")
    rig.pass_time(rig.config.unblock_retry_ms + 1)
    assert {each.address for each in rig.take(b"2", Unblock)} == {
        "poll://any@a-l", "poll://any@a-l/spy",
    }  # fmt: skip
    assert not rig.take(b"1", Unblock)


@pytest.mark.parametrize(
    "ask",
    [
        lambda id_: TaskFulfill(id_, 1, "resolved"),
        lambda id_: TaskFence(id_, 1, (PromiseCreate(f"{id_}.1", LATER),)),
        lambda id_: TaskFence(id_, 1, (PromiseCreate("a/9", LATER),)),
        lambda id_: TaskSuspend(id_, 1, (f"{id_}.1",)),
        lambda id_: TaskRelease(id_, 1),
        lambda id_: TaskPreload(id_, 1),
        lambda id_: TaskHalt(id_, version=1),
    ],
)
def test_commands_of_a_holder_do_not_tell_whether_an_id_exists(rig: Rig, ask: Any) -> None:
    rig.create(C, "a/held", "a-x")
    rig.create(C, "a/waits", "a-nobody")
    rig.create(C, "a/plain", None)
    rig.create(C, "a/done", None)
    rig.reply(C, PromiseCancel("a/done"))
    answers = {
        (reply.status, (reply.error or "").replace(id_, "ID"), reply.promise)
        for id_ in ("a/held", "a/waits", "a/plain", "a/done", "a/none")
        for reply in [rig.reply(B, ask(id_))]
    }
    assert len(answers) == 1
    assert next(iter(answers))[0] == 403


def test_claims_tell_nothing_of_tasks_that_one_may_not_have(rig: Rig) -> None:
    rig.create(C, "a/1", "a-x")
    rig.one(A, Invoke)
    rig.create(C, "a/2", "a-nobody")
    assert rig.reply(A, TaskSuspend("a/1", 1, ("a/2",))).ok
    claims = (("a/1", 1), ("a/none", 1))
    assert rig.join(B, "b", group="mail", claims=claims).lost == ("a/1", "a/none")
    assert rig.join(A, "a", group="a-x", claims=claims).lost == ("a/none",)


@pytest.mark.parametrize("tag", [TAG_ORIGIN, TAG_PARENT])
@pytest.mark.parametrize("branch", [{}, {TAG_BRANCH: "nowhere"}])
def test_a_node_brings_nothing_into_the_graphs_of_strangers(
    rig: Rig, tag: str, branch: dict[str, str]
) -> None:
    rig.create(C, "a/1", None)
    create = PromiseCreate("b/1", LATER, tags={**branch, tag: "a/1"})
    assert rig.reply(B, create).status == 403
    assert rig.reply(B, PromiseCreateWatched(create)).status == 403


def test_a_refused_request_counts_as_answered() -> None:
    rig = Rig(grant_of={"c": NOTHING}.get, inflight_max=1)
    rig.core.sessions.identity_of = {C: "c"}.get
    rig.join(C, "c", kind="client")
    assert [rig.reply(C, PromiseGet("p")).status for _ in range(3)] == [403] * 3
