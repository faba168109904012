"""A survey has the numbers of all groups and nodes, and of what went wrong."""

from __future__ import annotations

from tests.unit.broker.core.rig import Rig, hello
from understudy_broker.core import metrics as core_metrics
from understudy_broker.core.metrics import Metrics
from understudy_broker.core.quotas import Level
from understudy_broker.core.survey import survey
from understudy_broker.keys.grants import EVERYTHING
from understudy_broker.keys.quota import Quota
from understudy_broker.protocol.messages import GroupPause, PromiseWatch
from understudy_store.commands import ScheduleCreate, TaskFulfill, TaskHalt, TaskRelease
from understudy_store.records import EMPTY


def test_groups_nodes_and_queues() -> None:
    rig = Rig()
    rig.join(b"n", "n", credit=1)
    rig.join(b"c", "c", kind="client", group="clients")
    for id_ in ("p", "q"):
        rig.create(b"c", id_)
    rig.create(b"c", "r", target="nobody")
    rig.now += 2_500
    found = survey(rig.core, rig.now)
    assert {(g.name, g.nodes, g.queued, g.oldest_s) for g in found.groups} == {
        ("g", 1, 1, 2.5),
        ("nobody", 0, 1, 2.5),
    }
    assert [(n.group, n.name, n.held, n.credit) for n in found.nodes] == [("g", "n", 1, 0)]
    assert found.peers == {"node": 1, "client": 1, "edge": 0, "broker": 0}
    assert found.tasks == {"pending": 2, "acquired": 1, "suspended": 0, "halted": 0}
    assert found.promises_pending == 3
    assert found.owns_slots


def test_ends_of_attempts() -> None:
    rig = Rig(deaths_max=1)
    rig.join(b"n", "n", credit=10)
    rig.create(b"n", "p")
    rig.reply(b"n", TaskRelease("p", 1, 0, True, "ValueError: no"))
    rig.reply(b"n", TaskRelease("p", 2, 0))
    rig.reply(b"n", TaskFulfill("p", 2, "resolved", EMPTY))
    rig.core.connection_lost(b"n", rig.now)
    rig.pass_time(1_000)
    found = survey(rig.core, rig.now)
    assert found.attempts == {
        ("g", "raised"): 1, ("g", "released"): 1, ("g", "fenced"): 1, ("g", "died"): 1,
    }  # fmt: skip
    assert found.parks == {("g", "deaths"): 1}
    assert found.tasks["halted"] == 1


def test_reasons_for_parking() -> None:
    rig = Rig()
    rig.join(b"n", "n", credit=10)
    for id_, cause in (("p", "UnknownFunctionError: f"), ("q", "NonDeterminismError: other")):
        rig.create(b"n", id_)
        assert rig.reply(b"n", TaskHalt(id_, cause, 1)).ok
    assert survey(rig.core, rig.now).parks == {("g", "unknown"): 1, ("g", "mismatch"): 1}


def test_a_schedule_that_is_late_is_told_of() -> None:
    rig = Rig(start=1_000_000_000_000)
    rig.join(b"c", "c", kind="client")
    rig.reply(b"c", ScheduleCreate("s", "* * * * *", "{id}-{timestamp}", 1_000, EMPTY, {}))
    assert survey(rig.core, rig.now).schedule_lag_s == 0
    assert survey(rig.core, rig.now + 120_000).schedule_lag_s > 60


def test_the_number_of_groups_that_are_counted_is_bounded() -> None:
    metrics = Metrics()
    for n in range(core_metrics.PAIRS_MAX + 5):
        metrics.count_attempts(f"g{n}", "died", 2)
        metrics.count_attempts(f"g{n}", "died", 0)
    assert len(metrics.attempts) == core_metrics.PAIRS_MAX + 1
    assert metrics.attempts["other", "died"] == 10


def test_how_far_identities_are_from_their_limits() -> None:
    limits = Quota(pending=5, stored=100, schedules=3, watches=4, connections=2, commands=1_000)
    grants = {"a": EVERYTHING._replace(limits=limits), "b": EVERYTHING}
    rig = Rig(grant_of=grants.get)
    rig.core.sessions.identity_of = {b"a": "a", b"b": "b"}.get
    rig.join(b"a", "a", kind="client")
    rig.join(b"b", "b", kind="client")
    found = survey(rig.core, rig.now).levels
    assert [(each.rule, each.used) for each in found] == [("connections", 1), ("watches", 0)]
    rig.create(b"a", "p")
    rig.reply(b"a", PromiseWatch(("p",)))
    found = survey(rig.core, rig.now).levels
    assert {each.identity for each in found} == {"a"}, "others have no limits"
    assert {each.rule: (each.used, each.most) for each in found} == {
        "connections": (1, 2),
        "watches": (1, 4),
        "pending": (1, 5),
        "stored": (1, 100),
        "schedules": (0, 3),
    }


def test_of_several_identities_the_one_nearest_to_its_limit_is_told_of() -> None:
    grants = {
        name: EVERYTHING._replace(limits=Quota(connections=most))
        for name, most in (("a", 10), ("b", 2), ("c", 5))
    }
    rig = Rig(grant_of=grants.get)
    rig.core.sessions.identity_of = {b"a": "a", b"b": "b", b"c": "c"}.get
    for name in "abc":
        rig.join(name.encode(), name, kind="client")
    assert survey(rig.core, rig.now).levels == [Level("b", "connections", 1, 2)]


def test_pauses_are_counted() -> None:
    rig = Rig()
    rig.join(b"c", "c", kind="client")
    for function in ("f", "g"):
        rig.reply(b"c", GroupPause("shop", function))
    assert survey(rig.core, rig.now).paused == {"shop": 2}


def test_limits_that_were_reached_are_counted_by_their_kind() -> None:
    rig = Rig(peers_max=1)
    rig.join(b"n", "n")
    rig.send(b"m", hello("m"))
    rig.turn()
    assert survey(rig.core, rig.now).limited == {"connections": 1}
