"""Promises and tasks of made-up calls, for the tests of the dashboard."""

from __future__ import annotations

from typing import Any

from understudy.ui.facts import CallFacts
from understudy.values import Codec
from understudy_broker.protocol.messages import GroupInfo, GroupsReport, NodeInfo
from understudy_store.records import (
    HEADER_FUNCTION,
    TAG_ORIGIN,
    TAG_SCOPE,
    TAG_TARGET,
    TAG_TIMER,
    TRUE,
    PromiseRecord,
    PromiseState,
    TaskRecord,
    TaskState,
    Value,
)

CODEC = Codec()
YEAR_MS = 365 * 24 * 3600 * 1000


def promise(
    id_: str,
    created: int = 0,
    settled: int | None = None,
    *,
    state: PromiseState | None = None,
    function: str | None = "pay",
    group: str | None = "bank",
    value: Value | None = None,
    **tags: str,
) -> PromiseRecord:
    """Make a promise: a call of a group, unless `group` is None."""
    known = {"scope": TAG_SCOPE, "timer": TAG_TIMER, "origin": TAG_ORIGIN}
    marks = {known.get(name, name): text for name, text in tags.items()}
    if group is not None:
        marks[TAG_TARGET] = f"poll://any@{group}"
    if "." in id_:
        marks.setdefault(TAG_ORIGIN, id_.partition(".")[0])
    headers = {} if function is None else {HEADER_FUNCTION: function}
    return PromiseRecord(
        id_,
        state or ("pending" if settled is None else "resolved"),
        Value(headers, CODEC.encode_call((1,), {})),
        value or Value({}, None if settled is None else CODEC.encode_value(1)),
        marks,
        YEAR_MS,
        created,
        settled,
    )


def step(id_: str, created: int, settled: int | None = None) -> PromiseRecord:
    """Make a step inside its caller."""
    return promise(id_, created, settled, function="look", group=None, scope="local")


def sleep(id_: str, created: int, settled: int | None = None) -> PromiseRecord:
    """Make a sleep."""
    return promise(id_, created, settled, function=None, group=None, timer=TRUE)


def task(id_: str, state: TaskState = "acquired", version: int = 1, **fields: Any) -> TaskRecord:
    """Make a task."""
    return TaskRecord(id_, state, version, "poll://any@bank", **fields)


def facts(*records: PromiseRecord, tasks: tuple[TaskRecord, ...] = (), now: int = 0) -> CallFacts:
    """Return facts about the call that is the first of these."""
    return CallFacts(
        now,
        records[0].id,
        {record.id: record for record in records},
        {each.id: each for each in tasks},
        report=report(),
    )


def node(name: str = "bank-1", **fields: Any) -> NodeInfo:
    """Make a node."""
    given = {"credit": 4, "held": 1, "silent_ms": 10, "functions": ("pay",), "concurrency": 4}
    return NodeInfo(name, f"{name}#1", 42, "host-1", **{**given, **fields})


def report(*groups: GroupInfo, **counters: int) -> GroupsReport:
    """Make a report; of one group with one node, unless groups are given."""
    return GroupsReport(groups or (GroupInfo("bank", (node(),), 0, 0),), counters)
