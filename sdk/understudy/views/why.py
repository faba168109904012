"""Why a call or a group does not go on: facts in words, each with the command that helps.

This module is pure: it gets what was read at one moment and returns texts. The walk goes from a
call to what it waits for, down to calls and promises that wait for nothing that is a promise; what
keeps each of these is one *reason*. Equal reasons of many calls are told once, with their number.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from understudy.obstacles import (
    halt_text,
    lacks_text,
    paused_text,
    resume_command,
    retry_text,
    why_queued,
)
from understudy.views.call_graph import Node
from understudy.views.progress import progress_text
from understudy.views.records import failure, node_of, without_id
from understudy.views.times import clock_time, duration
from understudy_store.addresses import InvalidAddressError, parse_target
from understudy_store.progress import ProgressRecord
from understudy_store.records import (
    DETACHED,
    HEADER_FUNCTION,
    LOCAL,
    PENDING,
    PROMISE_WORDS,
    TAG_BRANCH,
    TAG_DELAY,
    TAG_EXTERNAL,
    TAG_PARENT,
    TAG_SCOPE,
    TRUE,
    PromiseRecord,
    TaskRecord,
    origin_of,
)

if TYPE_CHECKING:
    from understudy_broker.protocol.messages import GroupInfo, GroupsReport, NodeInfo

#: A node that has sent nothing for so long is told of: it sends heartbeats each second or so.
SILENT_MS: Final = 5_000
#: calls that are named for one reason; the others are counted
NAMED: Final = 3
#: reasons that are told; the rarest are left out
REASONS_MAX: Final = 10
#: calls that one explanation looks at
CALLS_MAX: Final = 10_000
#: what is said of calls that have ended their processes
_DEADLY: Final = "find out why before it goes on: it may end the next process, too"
#: running calls, and suspended ones, that the explanation of a group looks at
BUSY_MAX: Final = 500
#: Characters of a cause in a command. It is looked for anywhere in the causes of tasks.
CAUSE_CHARS: Final = 80


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was read about a call, or about a group, at one moment.

    Attributes
    ----------
    now_ms
        Epoch milliseconds.
    report
        The groups with their nodes.
    records, tasks
        Promises and tasks, by id: a call with the pending ones below it, or the tasks of a group.
    owners
        The name of the broker of each of `records`, where there are several; None: of nobody now.
    progress
        How far functions are, by the id of their promise, where they say so.
    is_whole
        False if there was more than is looked at.
    """

    now_ms: int
    report: GroupsReport
    records: Mapping[str, PromiseRecord] = field(default_factory=dict)
    tasks: Mapping[str, TaskRecord] = field(default_factory=dict)
    owners: Mapping[str, str | None] = field(default_factory=dict)
    progress: Mapping[str, ProgressRecord] = field(default_factory=dict)
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that keeps calls from going on.

    Attributes
    ----------
    text
        What it is, as the end of a sentence that begins with the calls.
    advice
        What helps: a command, or words; empty if only waiting does.
    ids
        The calls that it keeps.
    """

    text: str
    advice: str = ""
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """An explanation: what is known of a call or a group.

    Attributes
    ----------
    summary
        One sentence on the whole.
    reasons
        What keeps it; the one that keeps most calls first. Empty if nothing does.
    """

    summary: str
    reasons: tuple[Reason, ...] = ()


# Calls -------------------------------------------------------------------------------------------


def explain_call(id_: str, facts: Facts) -> Explanation:
    """Return why a call does not go on, or how it ended.

    Parameters
    ----------
    id_
        Of one of the records of `facts`.
    """
    record = facts.records[id_]
    node = Node(record)
    name = f"{id_} ({_kind(node)})"
    if record.settled:
        return Explanation(f"{name} {_ending(record)}")
    for_ms = duration(facts.now_ms - record.created_at)
    found = _merged(_Walk(facts).reasons(id_), root=origin_of(record))
    below = {each for reason in found for each in reason.ids} - {id_}
    if not found:
        return Explanation(f"{name} has been pending for {for_ms}, and nothing keeps it")
    if not below:
        return Explanation(f"{name} has been pending for {for_ms}", found)
    others = "one call or promise" if len(below) == 1 else f"{len(below):,} calls or promises"
    more = (
        "" if facts.is_whole else f"; of what is below it, the first {CALLS_MAX:,} were looked at"
    )
    return Explanation(
        f"{name} has been pending for {for_ms}: it waits for {others} below it{more}", found
    )


def _ending(record: PromiseRecord) -> str:
    """Say how a promise was settled."""
    assert record.settled_at is not None
    took = duration(record.settled_at - record.created_at)
    text = f"was {PROMISE_WORDS[record.state]} at {clock_time(record.settled_at)}, after {took}"
    error = failure(record)
    if error is None or record.state != "rejected":
        return text
    return f"{text}: {error['type']}: {error['message']}"


def _kind(node: Node) -> str:
    group = node.group
    return node.name if group is None else f"{node.name} in group {group}"


class _Walk:
    """Goes down from a call to what keeps it."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._nodes = {
            node.pid: (group, node) for group in facts.report.groups for node in group.nodes
        }
        self._groups = {group.name: group for group in facts.report.groups}
        #: pending promises by the call that has made them
        self._below: dict[str, list[str]] = {}
        for record in facts.records.values():
            tags = record.tags
            parent = tags.get(TAG_PARENT, tags.get(TAG_BRANCH))
            if parent is not None and not record.settled and tags.get(TAG_SCOPE) != DETACHED:
                self._below.setdefault(parent, []).append(record.id)

    def reasons(self, id_: str) -> Iterable[Reason]:
        """Yield what keeps a call, in any order."""
        waiting, seen = [id_], {id_}
        while waiting:
            each = waiting.pop()
            further, reason = self._look(each)
            if reason is not None:
                yield Reason(reason.text, reason.advice, (each,))
            fresh = [other for other in further if other not in seen]
            seen.update(fresh)
            waiting += fresh

    def _look(self, id_: str) -> tuple[Sequence[str], Reason | None]:
        """Return what a pending promise waits for, or what keeps it."""
        record = self._facts.records.get(id_)
        if record is None:
            return (), Reason("is not known to the broker: it was purged, or its broker is away")
        if record.settled:
            return (), None
        if self._facts.owners.get(id_, "") is None:
            return (), Reason(
                "belongs to a slot that no broker has at the moment", "understudy slots show"
            )
        task = self._facts.tasks.get(id_)
        below = self._below.get(id_, ())
        if task is None:
            return below, None if below else self._without_task(record)
        if task.state == "suspended":
            awaited = {*below, *task.awaits}
            lost = None if awaited else _waits_elsewhere(task)
            return sorted(awaited), lost
        if task.state == "acquired":
            steps = [each for each in below if self._is_local(each)]
            others = [each for each in below if not self._is_local(each)]
            # A node keeps for a while what waits for calls, before it suspends it.
            waits = bool(others) and not steps and not self._is_silent(task)
            return others, None if waits else self._running(task, steps)
        if task.state == "halted":
            text, _, _ = halt_text(task).partition("; to let it run")
            if task.deaths:
                text = f"{text}; {_DEADLY}"
            return (), Reason(text, f"understudy tasks continue {shlex.quote(id_)}")
        return (), self._queued(record, task)

    def _without_task(self, record: PromiseRecord) -> Reason:
        node = Node(record)
        if node.role == "sleep":
            left = duration(max(0, record.timeout_at - self._facts.now_ms))
            return Reason(f"sleeps until {clock_time(record.timeout_at)}, which is in {left}")
        if node.role == LOCAL:
            return Reason("is a step that its caller's node performs")
        since = duration(self._facts.now_ms - record.created_at)
        advice = f"understudy promises resolve {shlex.quote(record.id)} --value JSON"
        if record.tags.get(TAG_EXTERNAL) == TRUE:
            return Reason(f"waits for somebody outside to settle it, for {since} now", advice)
        return Reason(f"is a promise that no call settles, pending for {since}", advice)

    def _is_silent(self, task: TaskRecord) -> bool:
        """Return whether nothing comes from the node of a task any more."""
        found = self._nodes.get(task.pid or "")
        return found is None or found[1].silent_ms >= SILENT_MS

    def _is_local(self, id_: str) -> bool:
        return self._facts.records[id_].tags.get(TAG_SCOPE) == LOCAL

    def _running(self, task: TaskRecord, steps: Sequence[str]) -> Reason:
        name = node_of(task) or task.pid or "a node"
        found = self._nodes.get(task.pid or "")
        if found is None:
            return Reason(
                f"is held by {name}, which is not connected: its lease ends soon, and another node "
                "goes on"
            )
        _, node = found
        place = f"node {name} (process {node.os_pid} on {node.host})"
        if node.silent_ms >= SILENT_MS:
            return Reason(
                f"is held by {place}, which has sent nothing for {duration(node.silent_ms)}: "
                "a function keeps its process from running Python, or it is stopped or cut off",
                f"on {node.host}: py-spy dump --pid {node.os_pid}",
            )
        doing = ""
        if steps:
            now, records = self._facts.now_ms, [self._facts.records[each] for each in steps[:NAMED]]
            names = ", ".join(
                f"{Node(each).name} ({each.id}) for {duration(now - each.created_at)}"
                for each in records
            )
            doing = f"; its steps now: {names}"
        crowd = ""
        if node.concurrency is not None and node.held > node.concurrency:
            crowd = (
                f", which has {node.held:,} tasks and runs {node.concurrency} at a time: this one "
                "may wait there for its turn"
            )
        told = [self._facts.progress.get(each) for each in (task.id, *steps)]
        far = "; ".join(text for each in told if (text := progress_text(each)))
        if node.blocked:
            crowd = f"{crowd}; for {duration(node.blocked_ms)} {node.blocked}"
        return Reason(f"runs on {place}{crowd}{doing}{f'; it says: {far}' if far else ''}")

    def _queued(self, record: PromiseRecord, task: TaskRecord) -> Reason:
        now = self._facts.now_ms
        if task.failures and (task.retry_at or 0) > now:
            return Reason(
                f"has failed {_times(task.failures)}: {retry_text(task)}",
                f"understudy tasks retry {shlex.quote(task.id)}",
            )
        due_at = int(record.tags.get(TAG_DELAY, "0"))  # The store has checked that it is a number.
        if due_at > now:
            return Reason(f"is not due before {clock_time(due_at)}, in {duration(due_at - now)}")
        name = Node(record).group or task.target
        group = self._groups.get(name)
        if group is not None:
            for pause in group.pauses:
                if pause.function in ("", record.param.headers.get(HEADER_FUNCTION, "")):
                    text = f"waits in the queue: {paused_text(name, pause)}"
                    return Reason(text, resume_command(name, pause))
        if (why := why_queued(record, self._facts.report)) is not None:
            starts = group is None or not group.nodes
            start = f"understudy node app:runtime --group {shlex.quote(name)}"
            return Reason(f"waits in the queue: {why}", start if starts else "")
        if group is None:
            return Reason(f"waits in the queue of group {name}")
        for node in group.nodes:
            if node.name == _only_node(task):
                busy = f"; for {duration(node.blocked_ms)} {node.blocked}" if node.blocked else ""
                return Reason(
                    f"waits for node {node.name}, which alone may have it and has {node.held:,} "
                    f"tasks in hand{busy}"
                )
        return Reason(f"waits in the queue of group {name}: {_load(group)}", _more_nodes(group))


# Groups ------------------------------------------------------------------------------------------


def explain_group(name: str, facts: Facts) -> Explanation:
    """Return what keeps the tasks of a group.

    Parameters
    ----------
    facts
        With the tasks of the group that are parked, or queued.
    """
    group = next((each for each in facts.report.groups if each.name == name), None)
    reasons: list[Reason] = []
    nodes = () if group is None else group.nodes
    queued = 0 if group is None else group.queued
    if not nodes:
        text = f"no node serves the group, and {_tasks(queued)}"
        reasons.append(Reason(text, f"understudy node app:runtime --group {shlex.quote(name)}"))
    if group is not None:
        reasons += [
            Reason(paused_text(name, pause), resume_command(name, pause)) for pause in group.pauses
        ]
    if group is not None and nodes:
        reasons += _of_nodes(group)
        for function, version, count in group.unserved:
            reasons.append(Reason(f"{_tasks(count)}: {lacks_text(group, function, version)}"))
    reasons += _of_tasks(name, facts)
    reasons += [
        Reason(f"{duration(ago_ms)} ago a caller was refused something: {text}")
        for _, text, ago_ms in facts.report.limited
    ]
    reasons += _of_one_node(facts)
    reasons += _of_steps(facts)
    reasons += _of_functions(group, facts)
    reasons += _of_suspended(facts)
    state = f"Group {name}: {len(nodes)} {'node' if len(nodes) == 1 else 'nodes'}"
    if group is not None and queued:
        state = f"{state}, {_tasks(queued)}, the oldest for {duration(group.waiting_ms)}"
    if not reasons:
        state = f"{state}; nothing keeps its calls"
        if group is not None:
            state = f"{state}: {_load(group)}"
    return Explanation(state, tuple(reasons[:REASONS_MAX]))


def _of_nodes(group: GroupInfo) -> Iterable[Reason]:
    for node in group.nodes:
        if node.silent_ms >= SILENT_MS:
            yield Reason(
                f"node {node.name} has sent nothing for {duration(node.silent_ms)}: a function "
                "keeps its process from running Python, or it is stopped or cut off",
                f"on {node.host}: py-spy dump --pid {node.os_pid}",
            )
        elif node.blocked:
            yield Reason(f"node {node.name}: for {duration(node.blocked_ms)} {node.blocked}")
    if group.queued and not any(map(_has_room, group.nodes)):
        yield Reason(_load(group), _more_nodes(group))


def _of_tasks(name: str, facts: Facts) -> Iterable[Reason]:
    """Yield why tasks are parked, and why they are tried again."""
    parked: dict[str, list[str]] = {}
    failed: dict[str, list[str]] = {}
    for task in facts.tasks.values():
        # Causes that differ in the id alone are one.
        cause = without_id(task.cause, task.id) if task.cause else "somebody has halted them"
        if task.state == "halted":
            parked.setdefault(cause, []).append(task.id)
        elif task.state == PENDING and task.failures:
            failed.setdefault(cause.partition(": ")[2] or cause, []).append(task.id)
    for cause, ids in sorted(parked.items(), key=lambda item: -len(item[1])):
        is_known = facts.tasks[ids[0]].cause is not None
        advice = _for_all("continue", name, ids, cause if is_known else None)
        warning = f"; {_DEADLY}" if facts.tasks[ids[0]].deaths else ""
        yield Reason(f"{_count(ids)} parked: {cause}{warning}", advice, tuple(ids))
    for cause, ids in sorted(failed.items(), key=lambda item: -len(item[1])):
        yield Reason(
            f"{_count(ids)} tried again: {cause}", _for_all("retry", name, ids, cause), tuple(ids)
        )


def _of_steps(facts: Facts) -> Iterable[Reason]:
    """Yield why steps of running calls are tried again."""
    failed: dict[str, list[str]] = {}
    for task in _longest(facts, "acquired"):
        _, is_failure, said = progress_text(facts.progress.get(task.id)).partition(" failed: ")
        if is_failure:
            cause = without_id(said.partition("; the next one")[0], task.id)
            failed.setdefault(cause, []).append(task.id)
    for cause, ids in sorted(failed.items(), key=lambda item: -len(item[1])):
        calls = "a step of 1 call is" if len(ids) == 1 else f"steps of {len(ids):,} calls are"
        text = f"{calls} tried again: {cause}"
        yield Reason(text, f"understudy why {shlex.quote(ids[0])}", tuple(ids))


def _of_one_node(facts: Facts) -> Iterable[Reason]:
    """Yield how many tasks wait for a node that alone may have them, whoever else has room."""
    now = facts.now_ms
    names = Counter(
        _only_node(each)
        for each in facts.tasks.values()
        if each.state == PENDING and (each.retry_at or 0) <= now
    )
    for name, count in names.most_common():
        if name is not None and count > 1:
            yield Reason(f"{_tasks(count)} for node {name}, which alone may have them")


def _of_functions(group: GroupInfo | None, facts: Facts) -> Iterable[Reason]:
    """Yield the function that keeps the nodes busy while others wait, if it is most of them."""
    if group is None or not group.queued or any(map(_has_room, group.nodes)):
        return
    tasks = [each for each in _longest(facts, "acquired") if each.id in facts.records]
    names = Counter(Node(facts.records[each.id]).name for each in tasks)
    for name, count in names.most_common(1):
        if count * 2 > len(tasks):
            first = next(each for each in tasks if Node(facts.records[each.id]).name == name)
            began = first.started_at or facts.records[first.id].created_at
            yield Reason(
                f"most tasks in hand are calls of {name}: {count:,} of {len(tasks):,}; the oldest, "
                f"{first.id}, began {duration(facts.now_ms - began)} ago",
                f"understudy why {shlex.quote(first.id)}",
            )


def _of_suspended(facts: Facts) -> Iterable[Reason]:
    """Yield how many calls of the group wait for others, and the one to ask about."""
    tasks = _longest(facts, "suspended")
    if tasks:
        calls = "1 call waits" if len(tasks) == 1 else f"{len(tasks):,} calls wait"
        began = tasks[0].started_at
        since = "" if began is None else f", the oldest since {duration(facts.now_ms - began)}"
        advice = f"understudy why {shlex.quote(tasks[0].id)}"
        more = "" if facts.is_whole else " or more"
        yield Reason(f"{calls}{more} for other calls or promises{since}", advice)


def _longest(facts: Facts, state: str) -> list[TaskRecord]:
    """Return the tasks in a state, the one that began first in front."""
    found = [each for each in facts.tasks.values() if each.state == state]
    return sorted(found, key=lambda each: (each.started_at or facts.now_ms, each.id))


def _waits_elsewhere(task: TaskRecord) -> Reason:
    """Say of a suspended call with nothing pending below it what that may mean."""
    if task.resumes:
        return Reason("is about to go on: what it waited for has ended")
    return Reason(
        "waits for a call or promise that another call has made, by an id of its own; or it is "
        "about to go on. The oldest call of its group most likely made it",
        f"understudy why --group {shlex.quote(_group_of(task))}",
    )


def _only_node(task: TaskRecord) -> str | None:
    """Return the name of the node that alone may have a task; None: any node of its group."""
    try:
        target = parse_target(task.target)
    except InvalidAddressError:
        return None
    return target.node if target.cast == "uni" else None


def _group_of(task: TaskRecord) -> str:
    """Return the name of the group that a task is for."""
    try:
        return parse_target(task.target).group
    except InvalidAddressError:
        return task.target


def _for_all(action: str, group: str, ids: Sequence[str], cause: str | None) -> str:
    """Return the one command for all tasks of a group that have one cause."""
    command = f"understudy tasks {action}"
    if len(ids) == 1 or cause is None:
        return f"{command} {' '.join(map(shlex.quote, ids[:NAMED]))}"
    text = max(cause.split("…"), key=len).strip()[:CAUSE_CHARS]
    return f"{command} --group {shlex.quote(group)} --cause {shlex.quote(text)}"


def _count(ids: Sequence[str]) -> str:
    return "1 task is" if len(ids) == 1 else f"{len(ids):,} tasks are"


def _tasks(count: int) -> str:
    return "1 task waits" if count == 1 else f"{count:,} tasks wait"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _has_room(node: NodeInfo) -> bool:
    return node.credit > 0 and (node.concurrency is None or node.held < node.concurrency)


def _load(group: GroupInfo) -> str:
    """Say how busy the nodes of a group are."""
    held = sum(node.held for node in group.nodes)
    sizes = [node.concurrency for node in group.nodes]
    nodes = "1 node" if len(sizes) == 1 else f"{len(sizes)} nodes"
    verb = "has" if len(sizes) == 1 else "have"
    room = "" if None in sizes else f" and run{'s' * (len(sizes) == 1)} {sum(filter(None, sizes))}"
    text = f"{nodes} {verb} {held:,} tasks in hand{room}{' at a time' * bool(room)}"
    if group.queued:
        text = f"{text}; {_tasks(group.queued)}, the oldest for {duration(group.waiting_ms)}"
    return text


def _more_nodes(group: GroupInfo) -> str:
    if any(map(_has_room, group.nodes)):
        return ""
    name = shlex.quote(group.name)
    return (
        f"start more nodes (understudy node app:runtime --group {name}), or raise --concurrency of "
        "those that wait for others"
    )


def _merged(reasons: Iterable[Reason], root: str) -> tuple[Reason, ...]:
    """Tell equal reasons once, the one that keeps most calls first.

    Parameters
    ----------
    root
        The root of the call graph. What helps one of its calls helps many by its id.
    """
    ids: dict[str, list[str]] = {}
    advice: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for reason in reasons:
        ids.setdefault(reason.text, []).extend(reason.ids)
        advice.setdefault(reason.text, reason.advice)
        counts[reason.text] += 1
    for text, kept in ids.items():
        if len(kept) > 1:
            for action in ("continue", "retry"):
                if advice[text].startswith(f"understudy tasks {action} "):
                    advice[text] = f"understudy calls {action} {shlex.quote(root)}"
    return tuple(
        Reason(text, advice[text], tuple(ids[text])) for text, _ in counts.most_common(REASONS_MAX)
    )
