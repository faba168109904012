"""Call graphs as JSON data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from understudy.obstacles import why_unserved
from understudy.views.call_graph import Node, attempts, status
from understudy.views.calls import attempt_json
from understudy.views.json_data import decoded
from understudy.views.progress import progress_json, progress_of_promises
from understudy.views.records import failure, node_of
from understudy_store.records import (
    HEADER_SITE,
    PROMISE_WORDS,
    RESOLVED,
    AttemptRecord,
    PromiseRecord,
    TaskRecord,
)

if TYPE_CHECKING:
    from understudy_broker.protocol.messages import GroupsReport
    from understudy_store.commands import Reply
    from understudy_store.progress import ProgressRecord


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The tasks and nodes of a call graph, at one moment."""

    now_ms: int
    #: id to task, of the promises that are shown
    tasks: Mapping[str, TaskRecord] = field(default_factory=dict)
    #: group to number of its nodes
    nodes_of: Mapping[str, int] = field(default_factory=dict)
    #: id to the reason, of calls whose function no node of their group has
    unserved: Mapping[str, str] = field(default_factory=dict)
    #: id to progress, of calls and steps that run and have said something
    progress: Mapping[str, ProgressRecord] = field(default_factory=dict)
    #: id to the attempts that ended badly; None: they were not read
    log: Mapping[str, Sequence[AttemptRecord]] | None = None


def surroundings(
    now_ms: int,
    records: Mapping[str, PromiseRecord],
    replies: Iterable[Reply],
    report: GroupsReport,
) -> Surroundings:
    """Return what is around a call graph.

    Parameters
    ----------
    records
        The promises of the graph, by id.
    replies
        To `TaskGet`, for those that have tasks.
    report
        The groups at that moment.
    """
    answered = [reply for reply in replies if reply.task is not None]
    tasks = {reply.task.id: reply.task for reply in answered if reply.task is not None}
    waiting = [id for id, task in tasks.items() if task.state == "pending"]
    unserved = {id: why_unserved(records[id], report) for id in waiting}
    return Surroundings(
        now_ms=now_ms,
        tasks=tasks,
        nodes_of={group.name: len(group.nodes) for group in report.groups},
        unserved={id: why for id, why in unserved.items() if why},
        progress=progress_of_promises(records, answered),
    )


def holder_of(node: Node, around: Surroundings) -> str | None:
    """Return the name of the node that holds the task now; None if no node does."""
    task = around.tasks.get(node.id)
    if node.record.settled or task is None or task.state != "acquired":
        return None
    return node_of(task)


def took_ms(node: Node, now_ms: int) -> int:
    """Return the time from the promise's creation until it settled, or until now."""
    record = node.record
    end = now_ms if record.settled_at is None else record.settled_at
    return max(0, end - record.created_at)


def as_data(root: Node, around: Surroundings) -> dict[str, Any]:
    """Return the tree as JSON data, with nested children.

    It is built without recursion because a chain may be deeper than Python's recursion limit.
    """
    made: dict[str, dict[str, Any]] = {}
    for node in root.walk():
        made[node.id] = data = _data(node, around)
        if around.log is not None:
            data["attempt_log"] = [attempt_json(each) for each in around.log.get(node.id, ())]
    for node in root.walk():
        made[node.id]["children"] = [made[child.id] for child in node.children]
    return made[root.id]


def _data(node: Node, around: Surroundings) -> dict[str, Any]:
    record, task = node.record, around.tasks.get(node.id)
    return {
        "id": node.id,
        "function": node.name,
        "role": node.role,
        "state": PROMISE_WORDS[record.state],
        "status": status(node, task, around.nodes_of, around.now_ms),
        "group": node.group,
        "node": holder_of(node, around),
        "arguments": decoded(node.record.param.data) if node.calls_function else None,
        "attempts": attempts(node, task),
        "runs": None if task is None else task.version,
        "failures": None if task is None else task.failures,
        "deaths": None if task is None else task.deaths,
        "cause": None if task is None else task.cause,
        "progress": progress_json(around.progress.get(node.id)),
        "retry_at": None if task is None else task.retry_at,
        "created_at": record.created_at,
        "settled_at": record.settled_at,
        "duration_ms": took_ms(node, around.now_ms),
        "at": record.param.headers.get(HEADER_SITE),
        "value": decoded(record.value.data) if record.state == RESOLVED else None,
        "error": failure(record),
        "children": [],
    }
