"""The limit `retention` of an identity: its call graphs are kept no longer, and as long as else."""

from __future__ import annotations

import pytest

from tests.unit.broker.core.test_quotas import A, B, rig_of
from understudy_broker.core.kept_times import kept_within
from understudy_broker.core.retention import FIRST_MS, IDLE_MS
from understudy_broker.keys.quota import Quota
from understudy_broker.protocol.messages import PromiseCreateWatched
from understudy_store.commands import (
    PromiseCreate,
    PromiseGet,
    PromiseSettle,
    ScheduleCreate,
    TaskCreate,
    TaskFence,
)
from understudy_store.records import (
    EMPTY,
    TAG_BRANCH,
    TAG_ORIGIN,
    TAG_RETENTION,
    TAG_TARGET,
    RetentionRules,
    Value,
)

RULES = RetentionRules(default=100, groups={"short": 10}, functions={"long": None, "shop/now": 5})


def create(function: str = "f", group: str = "g", **tags: str) -> PromiseCreate:
    tags = {TAG_TARGET: f"poll://any@{group}", **tags}
    return PromiseCreate("c", 9**9, Value({"fn": function}), tags)


def plain(**tags: str) -> PromiseCreate:
    return PromiseCreate("c", 9**9, EMPTY, tags)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (create(), "50"),
        (create(group="short"), None),
        (create("now", "shop"), None),
        (create("long", "short"), "50"),
        (create(**{TAG_RETENTION: "never"}), "50"),
        (create(**{TAG_RETENTION: "51"}), "50"),
        (create(**{TAG_RETENTION: "7"}), "7"),
        (create(**{TAG_RETENTION: "1d"}), "1d"),
        (create(**{TAG_ORIGIN: "c"}), "50"),
        (create(**{TAG_ORIGIN: "root"}), None),
        (plain(), "50"),
        (plain(**{TAG_BRANCH: "caller"}), "50"),
    ],
)
def test_what_begins_a_call_graph_says_how_long_it_is_kept(
    asked: PromiseCreate, kept: str | None
) -> None:
    bounded = kept_within(asked, 50, RULES)
    assert isinstance(bounded, PromiseCreate)
    assert bounded.tags.get(TAG_RETENTION) == kept
    assert {**bounded.tags, TAG_RETENTION: ""} == {**asked.tags, TAG_RETENTION: ""}


def test_each_command_that_creates_is_bounded() -> None:
    watched = kept_within(PromiseCreateWatched(create()), 50, RULES)
    assert isinstance(watched, PromiseCreateWatched)
    assert watched.create.tags[TAG_RETENTION] == "50"
    settle = PromiseSettle("c", "resolved")
    fence = kept_within(TaskFence("t", 1, (settle, create())), 50, RULES)
    assert isinstance(fence, TaskFence)
    [same, bounded] = fence.commands
    assert same == settle
    assert isinstance(bounded, PromiseCreate)
    assert bounded.tags[TAG_RETENTION] == "50"
    task = kept_within(TaskCreate("p", 9, "c", 9**9, EMPTY, create().tags), 50, RULES)
    assert isinstance(task, TaskCreate)
    assert task.tags[TAG_RETENTION] == "50"
    schedule = kept_within(ScheduleCreate("s", "* * * * *", "x", 10), 50, RULES)
    assert isinstance(schedule, ScheduleCreate)
    assert schedule.promise_tags[TAG_RETENTION] == "50"
    assert kept_within(settle, 50, RULES) is settle


def test_calls_of_an_identity_go_when_its_role_says() -> None:
    rig = rig_of(Quota(retention=1000), retention=RetentionRules(default=2**40, idempotency=2**41))
    for peer, id_ in ((A, "of-a"), (B, "of-b")):
        assert rig.create(peer, id_, None).status == 201
        assert rig.create(peer, id_, None).status == 200
        rig.reply(peer, PromiseSettle(id_, "resolved"))
    rig.pass_time(FIRST_MS + 2 * IDLE_MS, 1000)
    rig.join(B, "b2", kind="client")
    assert rig.reply(B, PromiseGet("of-a")).status == 410
    assert rig.reply(B, PromiseGet("of-b")).status == 200
