"""The state of the deployment at this moment, as its first page shows it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from understudy.ui.facts import NowFacts
from understudy.ui.row_changes import row_key
from understudy.views.times import duration
from understudy.views.why import SILENT_MS, Facts, Reason, explain_group
from understudy_store.addresses import InvalidAddressError, group_of
from understudy_store.records import TaskRecord

if TYPE_CHECKING:
    from understudy_broker.protocol.messages import GroupInfo, NodeInfo

#: How bad something is: calls stand still; calls take longer; it is to be known.
Level: TypeAlias = Literal["bad", "warn", "ok"]
#: problems that are shown; the rest is counted
PROBLEMS_MAX: Final = 30
#: rows of groups and nodes
ROWS_MAX: Final = 400
#: a queue that waits for so long is told of
OLD_MS: Final = 30_000


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps calls from going on.

    Attributes
    ----------
    ids
        Calls that it keeps.
    """

    key: str
    level: Level
    group: str
    text: str
    advice: str
    ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node of a group."""

    key: str
    name: str
    place: str
    running: int
    concurrency: int | None
    silent: str
    functions: Sequence[str]
    build: str = ""

    @property
    def load(self) -> float:
        """The part of its room that is taken, from 0 to 1."""
        return min(1.0, self.running / self.concurrency) if self.concurrency else 0.0


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group with its nodes.

    Attributes
    ----------
    oldest
        How long the oldest task has waited; empty if none does.
    """

    key: str
    name: str
    level: Level
    state: str
    nodes: Sequence[NodeRow]
    running: int
    concurrency: int | None
    queued: int
    oldest: str
    parked: int

    @property
    def load(self) -> float:
        """The part of its room that is taken, from 0 to 1."""
        return min(1.0, self.running / self.concurrency) if self.concurrency else 0.0

    @property
    def build(self) -> str:
        """The build of its nodes, or how many they have."""
        builds = {node.build for node in self.nodes} - {""}
        return f"{len(builds)} builds" if len(builds) > 1 else "".join(builds)


@dataclass(frozen=True, slots=True)
class Overview:
    """The first page.

    Attributes
    ----------
    headline
        What is to be known in one sentence.
    left_out
        Groups that there was no room for.
    """

    level: Level
    headline: str
    problems: Sequence[Problem]
    groups: Sequence[GroupRow]
    queued: int
    running: int
    parked: str
    nodes: int
    left_out: int = 0


def overview(facts: NowFacts) -> Overview:
    """Return the state of the deployment."""
    parked = _by_group(facts.parked)
    queued = _by_group(facts.queued)
    known = {group.name for group in facts.report.groups}
    problems: list[Problem] = []
    for group in facts.report.groups:
        tasks = [*parked.get(group.name, ()), *queued.get(group.name, ())]
        if has_trouble(group) or tasks:
            problems += _problems(group.name, facts, tasks)
    for name in parked.keys() - known:
        problems += _problems(name, facts, parked[name], is_known=False)
    problems += _of_brokers(facts)
    order = {"bad": 0, "warn": 1, "ok": 2}
    problems.sort(key=lambda problem: order[problem.level])
    rows = [_group_row(group, parked.get(group.name, ())) for group in facts.report.groups]
    level: Level = problems[0].level if problems else "ok"
    more = "" if facts.is_whole or not facts.parked else "+"
    nodes = sum(len(row.nodes) for row in rows)
    return Overview(
        level,
        _headline(problems, rows, nodes),
        problems[:PROBLEMS_MAX],
        rows[:ROWS_MAX],
        queued=sum(row.queued for row in rows),
        running=sum(row.running for row in rows),
        parked=f"{len(facts.parked):,}{more}",
        nodes=nodes,
        left_out=max(0, len(rows) - ROWS_MAX),
    )


def has_trouble(group: GroupInfo) -> bool:
    """Return whether something of a group is worth a look at its queue."""
    return bool(
        group.unserved
        or (group.queued and (not group.nodes or group.waiting_ms >= OLD_MS))
        or any(node.silent_ms >= SILENT_MS for node in group.nodes)
    )


def _by_group(tasks: Iterable[TaskRecord]) -> dict[str, list[TaskRecord]]:
    found: dict[str, list[TaskRecord]] = {}
    for task in tasks:
        try:
            name = group_of(task.target)
        except InvalidAddressError:
            name = task.target
        found.setdefault(name, []).append(task)
    return found


def _problems(
    name: str, facts: NowFacts, tasks: Iterable[TaskRecord], *, is_known: bool = True
) -> Iterator[Problem]:
    by_id = {task.id: task for task in tasks}
    explained = explain_group(name, Facts(facts.now_ms, facts.report, tasks=by_id))
    for reason in explained.reasons:
        if not is_known and not reason.ids:
            continue  # that nothing serves it: nothing waits there, but what is parked
        yield Problem(
            row_key("problem", name, reason.text.partition(", the oldest")[0]),
            _level_of(reason, by_id),
            name,
            _sentence(reason.text),
            reason.advice,
            reason.ids,
        )


def _level_of(reason: Reason, tasks: dict[str, TaskRecord]) -> Level:
    if not reason.ids:
        return "bad" if reason.text.startswith(("no node", "node ")) else "warn"
    return "bad" if any(tasks[each].state == "halted" for each in reason.ids) else "warn"


def _of_brokers(facts: NowFacts) -> Iterator[Problem]:
    for broker in facts.brokers:
        if not broker.answers:
            slots = f"{len(broker.slots)} slots" if broker.slots else "its slots"
            yield Problem(
                row_key("problem", "broker", broker.address),
                "bad",
                "",
                f"The broker {broker.name} at {broker.address} does not answer: calls in {slots} "
                "wait for it",
                "understudy brokers",
            )
    if facts.report.counters.get("insecure"):
        yield Problem(
            row_key("problem", "insecure"),
            "warn",
            "",
            "Other machines can reach the broker, which asks for no keys: anyone there can do "
            "everything",
            "understudy broker --keys FOLDER",
        )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _headline(problems: Sequence[Problem], groups: Sequence[GroupRow], nodes: int) -> str:
    if not groups:
        return "No groups yet"
    count = len(problems)
    if count:
        return "1 problem" if count == 1 else f"{count:,} problems"
    serving = "1 node serves" if nodes == 1 else f"{nodes:,} nodes serve"
    return f"All is well: {serving} {'1 group' if len(groups) == 1 else f'{len(groups):,} groups'}"


def _group_row(group: GroupInfo, parked: Sequence[TaskRecord]) -> GroupRow:
    nodes = [_node_row(group.name, node) for node in group.nodes]
    sizes = [node.concurrency for node in group.nodes]
    level, state = _state_of(group, len(parked))
    return GroupRow(
        key=row_key("group", group.name),
        name=group.name,
        level=level,
        state=state,
        nodes=nodes,
        running=sum(node.held for node in group.nodes),
        concurrency=None if None in sizes else sum(filter(None, sizes)),
        queued=group.queued,
        oldest=duration(group.waiting_ms) if group.queued else "",
        parked=len(parked),
    )


def _state_of(group: GroupInfo, parked: int) -> tuple[Level, str]:
    if not group.nodes:
        return ("bad", "no node") if group.queued else ("ok", "no node")
    silent = sum(node.silent_ms >= SILENT_MS for node in group.nodes)
    if silent == len(group.nodes):
        return "bad", "silent"
    if parked:
        return "bad", f"{parked} parked"
    if group.unserved:
        return "bad", "function missing"
    if silent:
        return "warn", f"{silent} silent"
    if group.queued and group.waiting_ms >= OLD_MS:
        return "warn", "queue is old"
    return "ok", "well"


def _node_row(group: str, node: NodeInfo) -> NodeRow:
    is_silent = node.silent_ms >= SILENT_MS
    return NodeRow(
        key=row_key("node", group, node.pid),
        name=node.name,
        place=f"process {node.os_pid} on {node.host}",
        running=node.held,
        concurrency=node.concurrency,
        silent=duration(node.silent_ms) if is_silent else "",
        functions=sorted(set(node.functions)),
        build=node.build,
    )
