"""The trail of an audit: what is noted, what is not, and what is refused while it cannot be."""

from __future__ import annotations

import json

import pytest

from tests.unit.broker.core.members import A, B, C
from tests.unit.broker.core.rig import Rig, hello
from understudy_broker.audit.chain import START, extended
from understudy_broker.audit.repeats import WINDOW_MS
from understudy_broker.core import audit_trail
from understudy_broker.core.audit_trail import RECORDS_MAX, REFUSALS_MAX, AuditTrail
from understudy_broker.keys.grants import EVERYTHING, NOTHING, Names
from understudy_broker.protocol.messages import (
    Delegated,
    GroupPause,
    PromiseWatch,
    Refused,
    Welcome,
)
from understudy_store.commands import (
    PromiseCancel,
    PromiseCreate,
    PromiseGet,
    PromisePurge,
    PromiseSettle,
    ScheduleDelete,
    TaskContinue,
    TaskFence,
    TaskFulfill,
    TaskHalt,
    TaskRetry,
)
from understudy_store.records import Value, pid_of

SECRET = b"a-secret-value"


#: what everybody may do
GRANT = EVERYTHING._replace(ids=Names(prefixes=("p", "q", "x", "y")))


@pytest.fixture
def trail() -> AuditTrail:
    return AuditTrail()


@pytest.fixture
def rig(trail: AuditTrail) -> Rig:
    grants = {"team-a": GRANT, "callers": GRANT}
    rig = Rig(audit=trail, grant_of=grants.get, watches_max=1)
    rig.core.sessions.identity_of = {A: "team-a", C: "callers"}.get
    rig.core.sessions.address_of = {A: "10.0.0.7"}.get
    return rig


def told(trail: AuditTrail) -> list[tuple[str, dict[str, object]]]:
    return [(record.what, dict(record.details)) for record in trail.take()]


def test_joining_and_being_refused_is_noted(rig: Rig, trail: AuditTrail) -> None:
    rig.join(A, "a")
    rig.send(B, hello("a", boot="2", kind="client"))
    rig.turn()
    (joined, who), (refused, other) = told(trail)
    assert (joined, who["identity"], who["name"]) == ("joined", "team-a", "a")
    assert (who["address"], who["pid"]) == ("10.0.0.7", pid_of("a", "1"))
    assert (refused, other["status"], other["name"]) == ("hello refused", 409, "a")
    assert "in use" in str(other["why"])
    assert "identity" not in other


def test_what_changes_something_from_outside_is_noted_without_values(
    rig: Rig, trail: AuditTrail
) -> None:
    rig.join(C, "c", kind="client")
    rig.join(A, "a", credit=1)
    rig.create(C, "p", in_ms=600_000)
    rig.turn()
    trail.take()
    value = Value({}, SECRET)
    for command in (
        PromiseCreate("q", rig.now + 1_000, value),
        PromiseSettle("q", "resolved", value),
        TaskFence("p", 1, (PromiseSettle("q", "resolved", value),)),
        PromiseCancel("none", value),
        TaskHalt("p", "because"),
        TaskContinue("p"),
        TaskRetry("p"),
        ScheduleDelete("s"),
    ):
        rig.reply(A if isinstance(command, TaskFence) else C, command)
    records = trail.take()
    lines, _ = extended(START, records)
    assert SECRET not in b"".join(lines)
    assert b"because" not in b"".join(lines)
    found = [json.loads(line) for line in lines]
    assert [(each["command"], each["id"], each["status"]) for each in found] == [
        ("promise.settle", "q", 200),
        ("promise.cancel", "none", 404),
        ("task.halt", "p", 200),
        ("task.continue", "p", 200),
        ("task.retry", "p", 409),
        ("schedule.delete", "s", 404),
    ]
    assert all(each["identity"] == "callers" for each in found)


def test_a_command_that_ends_later_is_noted_with_its_end(rig: Rig, trail: AuditTrail) -> None:
    rig.join(C, "c", kind="client")
    for id_ in ("p", "q", "q.1"):
        rig.create(C, id_, target=None)
        rig.reply(C, PromiseSettle(id_, "resolved"))
    trail.take()
    rig.now += 5
    for command in (
        PromisePurge(rig.now, prefix="q", dry_run=True),
        PromisePurge(rig.now, prefix="q"),
        GroupPause("g", "f", reason="secret"),
        GroupPause("g", paused=False),
        GroupPause("no/group"),
    ):
        rig.ask(C, command)
        rig.turn()
    found = [details for what, details in told(trail) if what == "command"]
    assert "secret" not in str(found)
    keys = ("identity", "command", "id", "prefix", "function", "paused", "status", "purged")
    assert [tuple(each.get(key) for key in keys) for each in found] == [
        ("callers", "promise.purge", None, "q", None, None, 200, 2),
        ("callers", "group.pause", "g", None, "f", True, 200, None),
        ("callers", "group.pause", "g", None, None, False, 200, None),
        ("callers", "group.pause", "no/group", None, None, True, 400, None),
    ]


def test_a_node_that_parks_its_own_task_is_nobody_from_outside(rig: Rig, trail: AuditTrail) -> None:
    rig.join(C, "c", kind="client")
    rig.join(A, "a", credit=2)
    rig.create(C, "p", in_ms=600_000)
    rig.create(C, "q", in_ms=600_000)
    rig.turn()
    trail.take()
    trail.failure = "the disk is full"
    assert rig.reply(A, TaskHalt("p", "cannot go on", 1)).status == 200
    assert rig.reply(A, TaskFulfill("q", 1, "resolved")).status == 200
    assert trail.take() == []


def test_of_refusals_few_are_noted_and_the_rest_is_counted(rig: Rig, trail: AuditTrail) -> None:
    rig.join(C, "c", kind="client")
    rig.join(A, "a")
    trail.take()
    for _ in range(REFUSALS_MAX + 5):
        assert rig.reply(C, PromiseGet("zz")).status == 403
    # Another one's refusals are not hidden by these.
    assert rig.reply(A, PromiseGet("zz")).status == 403
    for _ in range(3):
        assert rig.reply(C, PromiseWatch(("x", "y"))).status == 429
    found = told(trail)
    assert [what for what, _ in found].count("refused") == REFUSALS_MAX + 1
    assert "ids = ['zz']" in str(found[0][1]["why"])
    assert found[0][1] | {"pid": None, "why": None} == {
        "identity": "callers", "name": "c", "group": "g", "kind": "client", "pid": None,
        "command": "promise.get", "id": "zz", "status": 403, "why": None,
    }  # fmt: skip
    assert [what for what, _ in found].count("too many requests") == 1
    due_at = trail.due_at()
    assert due_at is not None
    trail.tick(due_at - 1)
    assert told(trail) == []
    trail.tick(rig.now + WINDOW_MS)
    assert told(trail) == [
        ("repeated", {"of": "refused", "who": "callers", "count": 5}),
        ("repeated", {"of": "too many requests", "who": "callers", "count": 2}),
    ]
    assert trail.due_at() is None
    rig.reply(C, PromiseWatch(("x", "y")))
    assert [what for what, _ in told(trail)] == ["too many requests"]


def test_who_says_to_ask_for_another_is_noted_as_itself(trail: AuditTrail) -> None:
    """And it uses up nobody else's lines."""
    rig = Rig(audit=trail, grant_of={"ann": NOTHING, "bob": NOTHING}.get)
    rig.core.sessions.identity_of = {A: "ann", C: "bob"}.get
    rig.join(A, "a", kind="client")
    rig.join(C, "c", kind="client")
    trail.take()
    for _ in range(REFUSALS_MAX + 1):
        assert rig.reply(A, Delegated("bob", PromiseCancel("p"))).status == 403
    found = told(trail)
    assert len(found) == REFUSALS_MAX
    assert {(each["identity"], each["for"]) for _, each in found} == {("ann", "bob")}
    assert {each["command"] for _, each in found} == {"promise.cancel"}
    assert rig.reply(C, PromiseCancel("p")).status == 403
    [(_, of_bob)] = told(trail)
    assert (of_bob["identity"], "for" in of_bob) == ("bob", False)


def test_what_cannot_be_audited_is_refused(rig: Rig, trail: AuditTrail) -> None:
    rig.join(C, "c", kind="client")
    rig.create(C, "p", in_ms=600_000)
    rig.turn()
    trail.failure = "No space left on device"
    for command in (PromiseCancel("p"), PromiseSettle("p", "resolved"), TaskHalt("p")):
        reply = rig.reply(C, command)
        assert reply.status == 503
        assert "No space left on device" in str(reply.error)
    # Calls go on.
    assert rig.reply(C, PromiseCreate("q", rig.now + 1_000)).status == 201
    rig.send(A, hello("a"))
    rig.turn()
    refused = rig.one(A, Refused)
    assert (refused.status, refused.fatal) == (503, False)
    trail.failure = None
    rig.send(A, hello("a"))
    rig.turn()
    rig.one(A, Welcome)
    assert rig.reply(C, PromiseCancel("p")).status == 200


def test_where_it_is_not_required_what_is_lost_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_trail, "RECORDS_MAX", 2)
    trail = AuditTrail(is_required=False)
    trail.failure = "No space left on device"
    rig = Rig(audit=trail)
    rig.join(C, "c", kind="client")
    rig.create(C, "p", in_ms=600_000)
    for _ in range(3):
        assert rig.reply(C, PromiseCancel("p")).status in (200, 409)
    assert len(trail.take()) == 2
    rig.reply(C, PromiseCancel("p"))
    assert told(trail)[0] == ("lost", {"count": 2})


def test_more_than_can_be_written_is_refused() -> None:
    trail = AuditTrail()
    for number in range(RECORDS_MAX):
        assert trail.blocked is None
        trail.add(number, "x")
    assert "not written as fast" in str(trail.blocked)
    trail.take()
    assert trail.blocked is None
