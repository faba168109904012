"""Schedules need their right, and what they call needs its own, whoever has set it up."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.broker.core.rig import Rig
from tests.unit.broker.core.test_authorization import CALL, names, refusal
from understudy_broker.keys.grants import EVERYTHING, NO_NAMES, NOTHING
from understudy_store.commands import (
    ScheduleGet,
    ScheduleNext,
    SchedulePause,
    SchedulePut,
    ScheduleResume,
    ScheduleTrigger,
    ScheduleUpdate,
    StoreCommand,
)
from understudy_store.records import TAG_IDENTITY, TAG_TARGET

C = b"peer-c"


def put(**tags: str) -> SchedulePut:
    return SchedulePut("a/s", "* * * * *", "b/{timestamp}", 1, promise_tags=tags, replace=True)


@pytest.mark.parametrize(
    ("command", "rights"),
    [
        (put(**CALL), {"schedule": names("a/"), "ids": names("b/"), "call": names("g")}),
        *(
            (each, {"schedule": names("a/")})
            for each in (
                ScheduleUpdate("a/s"),
                SchedulePause("a/s"),
                ScheduleResume("a/s"),
                ScheduleTrigger("a/s", 1),
                ScheduleNext("a/s"),
            )
        ),
    ],
    ids=str,
)
def test_a_command_needs_all_of_its_rights_and_no_other(
    command: StoreCommand, rights: dict[str, Any]
) -> None:
    assert refusal(NOTHING._replace(**rights), command) is None
    for lacking in rights:
        fewer = EVERYTHING._replace(**{lacking: NO_NAMES})  # type: ignore[arg-type]
        assert f"{lacking} = [" in (refusal(fewer, command) or "")


def test_who_runs_the_schedules_of_others_may_call_what_they_call() -> None:
    grants = {"a/client": EVERYTHING}
    rig = Rig(grant_of=grants.get)
    rig.core.sessions.identity_of = {C: "a/client"}.get
    rig.join(C, "c", kind="client")
    forged = put(**{TAG_TARGET: "a-x", TAG_IDENTITY: "b/node"})
    assert rig.reply(C, forged).ok
    stored = rig.reply(C, ScheduleGet("a/s")).schedule
    assert stored is not None
    assert stored.promise_tags[TAG_IDENTITY] == "a/client"
    assert rig.reply(C, ScheduleTrigger("a/s", 1)).ok
    grants["a/client"] = NOTHING._replace(schedule=names("a/"))
    assert rig.reply(C, SchedulePause("a/s")).ok
    for command in (ScheduleTrigger("a/s", 3), ScheduleResume("a/s"), ScheduleUpdate("a/s")):
        assert "call = ['a-x']" in (rig.reply(C, command).error or "")
