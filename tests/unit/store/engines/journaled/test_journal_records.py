"""Records of a journal: those of earlier releases are read as well."""

from __future__ import annotations

import msgspec

from understudy_store.changes import Changes
from understudy_store.engines.journaled.journal_records import decode, encode
from understudy_store.records import EMPTY, ScheduleCourse, SchedulePlan, ScheduleRecord


def test_a_schedule_of_an_earlier_release_has_the_rules_that_it_had_then() -> None:
    before = ["s", "* * * * *", "{id}.{timestamp}", 1000, [{}, None], {"a": "b"}, 5, 1, None]
    commit = [7, [], [], [], [], [], [], [], [], [before], ["gone"]]
    changes = decode(msgspec.msgpack.encode(commit))
    made = ScheduleRecord("s", "* * * * *", "{id}.{timestamp}", 1000, EMPTY, {"a": "b"}, 5, 1)
    assert changes.schedules_put == [made]
    assert (made.plan, made.course) == (SchedulePlan(), ScheduleCourse())
    assert (made.plan.zone, made.plan.overlap, made.plan.catch_up) == ("UTC", "allow", "all")


def test_plan_and_course_are_in_the_journal() -> None:
    made = ScheduleRecord(
        *("s", "* * * * *", "p", 1000, EMPTY, {}, 5, 1, 2),
        SchedulePlan("Europe/Vienna", "skip", 5_000, 7),
        ScheduleCourse(1, "p", 2, 3, 4, "why", 5, "missed"),
    )
    assert decode(encode(Changes(7, schedules_put=[made]))).schedules_put == [made]
