"""The waterfall of a call: a row for each promise below it, in call order, on one axis. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from understudy.obstacles import task_trouble
from understudy.ui.badges import Badge, badge_of
from understudy.ui.facts import CallFacts
from understudy.ui.row_changes import row_key
from understudy.ui.timeline import Axis, Segment, Span, merged, round_end, segments
from understudy.views.call_graph import Node, Omitted, attempts, build, lines
from understudy.views.progress import progress_text
from understudy.views.records import failure_reason, node_of
from understudy.views.times import duration
from understudy_store.records import (
    DETACHED,
    LOCAL,
    PROMISE_WORDS,
    REJECTED,
    TAG_TARGET,
    TIMEDOUT,
    AttemptRecord,
    TaskRecord,
    is_local,
)

#: rows of a waterfall; what is beyond is counted
ROWS_MAX: Final = 500
#: levels by which a row is indented; deeper ones stand below each other
DEPTH_MAX: Final = 12


@dataclass(frozen=True, slots=True)
class Row:
    """A promise of the waterfall.

    Attributes
    ----------
    key
        The id of its element.
    bar
        What it did, and when.
    trouble
        Why it failed or does not go on; empty if all is well.
    is_open
        It is pending, so its bar grows.
    """

    key: str
    id: str
    depth: int
    name: str
    role: str
    group: str | None
    badge: Badge
    node: str | None
    bar: tuple[Segment, ...]
    took: str
    attempts: int
    progress: str
    trouble: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class Fold:
    """Children of one call that are alike and not shown one by one.

    Attributes
    ----------
    parent
        The id of the call.
    text
        How many there are, by state.
    has_trouble
        Some of them have failed.
    is_whole
        False if there may be more of them, which were not read.
    """

    key: str
    parent: str
    depth: int
    name: str
    count: int
    text: str
    has_trouble: bool
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Waterfall:
    """A waterfall.

    Attributes
    ----------
    left_out
        Rows that there was no room for.
    """

    axis: Axis
    rows: Sequence[Row | Fold]
    left_out: int = 0


def tree_of(facts: CallFacts) -> Node:
    """Return the call with what is below it."""
    root = build(facts.records.values(), facts.id)
    assert root is not None
    return root


def waterfall(facts: CallFacts, root: Node | None = None) -> Waterfall:
    """Return the waterfall of a call.

    Parameters
    ----------
    root
        What `tree_of` has returned; None: the tree is built.
    """
    drawn = lines(tree_of(facts) if root is None else root)
    shown = drawn[:ROWS_MAX]
    nodes = [line.item for line in shown if isinstance(line.item, Node)]
    bars = {
        node.id: bar_of(
            node, facts.tasks.get(node.id), facts.now_ms, facts.attempts.get(node.id, ())
        )
        for node in nodes
    }
    rows: list[Row | Fold] = []
    path: list[str] = []
    for line in shown:
        depth = len(line.last)
        if isinstance(line.item, Omitted):
            rows.append(_fold(line.item, path[depth - 1], depth, is_whole=facts.is_whole))
        else:
            path[depth:] = [line.item.id]
            rows.append(row_of(line.item, bars[line.item.id], depth, facts))
    return Waterfall(axis_of(facts, bars), rows, len(drawn) - len(shown))


def axis_of(facts: CallFacts, bars: Mapping[str, Sequence[Segment]]) -> Axis:
    """Return the axis for bars, by the ids of their promises: from the creation of the call."""
    start = facts.record.created_at
    shown = bars.keys()
    spans = [segment for bar in bars.values() for segment in bar]
    end = max((segment.end for segment in spans), default=start)
    if any(not record.settled for record in facts.records.values()):
        end = round_end(start, max(end, facts.now_ms))
    busy = [(each.start, each.end) for each in spans if each.kind in ("queued", "running")]
    # Of rows that are not shown, what they did in their time is not known here.
    busy += [
        (record.created_at, facts.now_ms if record.settled_at is None else record.settled_at)
        for id_, record in facts.records.items()
        if id_ not in shown and (TAG_TARGET in record.tags or is_local(record))
    ]
    return Axis(start, end, busy)


def row_of(node: Node, bar: Sequence[Segment], depth: int, facts: CallFacts) -> Row:
    """Return the row of a promise."""
    record, task = node.record, facts.tasks.get(node.id)
    end = facts.now_ms if record.settled_at is None else record.settled_at
    is_held = task is not None and task.state == "acquired" and not record.settled
    return Row(
        key=row_key("row", node.id),
        id=node.id,
        depth=min(depth, DEPTH_MAX),
        name=node.name,
        role=node.role,
        group=node.group,
        badge=badge_of(node, task, facts.nodes_of, facts.now_ms),
        node=node_of(task) if is_held and task is not None else None,
        bar=tuple(bar),
        took=duration(max(0, end - record.created_at)),
        attempts=attempts(node, task),
        progress=progress_text(facts.progress.get(node.id)),
        trouble=failure_reason(record) if record.settled else task_trouble(task),
        is_open=not record.settled,
    )


def bar_of(
    node: Node, task: TaskRecord | None, now_ms: int, log: Sequence[AttemptRecord] = ()
) -> list[Segment]:
    """Return what a promise did, and when, as far as its record and those below it tell."""
    record = node.record
    start = record.created_at
    end = max(start, now_ms if record.settled_at is None else record.settled_at)
    if node.role == LOCAL:
        return segments(start, end)
    if node.group is None:
        return [Segment("waiting", start, end)] if end > start else []
    waiting, steps = _spans_below(node, end)
    if task is None:
        return segments(start, end, waiting=waiting, steps=steps)
    pauses, queues = _gaps(task, log, end)
    return segments(
        start,
        end,
        queued_until=began_at(node, task, end),
        waiting=waiting,
        steps=steps,
        pauses=pauses,
        queues=queues,
    )


def began_at(node: Node, task: TaskRecord, end: int) -> int:
    """Return when a node began with a call, as far as that is known; at the latest `end`."""
    if task.started_at is not None:
        return min(task.started_at, end)
    if not node.record.settled and task.version == 0:
        return end
    # An earlier release of the broker has not stored it.
    return node.record.created_at


def _gaps(
    task: TaskRecord, log: Sequence[AttemptRecord], end: int
) -> tuple[list[Span], list[Span]]:
    """Return the pauses after attempts that raised, and the times in which it lacked a node."""
    pauses: list[Span] = []
    queues: list[Span] = []
    latest = end
    if task.acquired_at is not None and log and task.acquired_at >= log[-1].ended_at:
        latest = task.acquired_at
    for attempt, following in zip_longest(log, log[1:]):
        until = latest if following is None else following.started_at or following.ended_at
        gap = attempt.ended_at, max(attempt.ended_at, until)
        (pauses if attempt.end == "raised" else queues).append(gap)
    return pauses, queues


def _spans_below(node: Node, end: int) -> tuple[list[Span], list[Span]]:
    """Return when a call had calls, sleeps or promises to wait for, and when its steps ran."""
    waiting: list[Span] = []
    steps: list[Span] = []
    for child in node.children:
        if child.role == DETACHED:
            continue
        settled = child.record.settled_at
        span = child.record.created_at, end if settled is None else min(settled, end)
        (steps if child.role == LOCAL else waiting).append(span)
    return waiting, merged(steps)


def _fold(omitted: Omitted, parent: str, depth: int, *, is_whole: bool) -> Fold:
    states = states_text(omitted.states)
    return Fold(
        key=row_key("fold", parent, omitted.name),
        parent=parent,
        depth=min(depth, DEPTH_MAX),
        name=omitted.name,
        count=omitted.count,
        text=states if is_whole else f"of those read: {states}",
        has_trouble=any(state in (REJECTED, TIMEDOUT) for state in omitted.states),
        is_whole=is_whole,
    )


def states_text(states: Mapping[str, int]) -> str:
    """Return numbers of promises by state in words.

    Examples
    --------
    >>> states_text({"resolved": 9990, "pending": 3})
    '9,990 resolved, 3 pending'
    """
    return ", ".join(f"{count:,} {PROMISE_WORDS[state]}" for state, count in states.items())
