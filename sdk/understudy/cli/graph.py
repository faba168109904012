"""Call graphs: from records to a tree, and from a tree to the lines that a person can take in.

Pure: records in, values out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from understudy_store.addresses import InvalidAddressError, parse_target
from understudy_store.records import (
    HEADER_ATTEMPT,
    HEADER_FUNCTION,
    HEADER_KIND,
    HEADER_PLACE,
    PENDING,
    RESOLVED,
    TAG_BRANCH,
    TAG_EXTERNAL,
    TAG_PARENT,
    TAG_SCOPE,
    TAG_TARGET,
    TAG_TIMER,
    PromiseRecord,
    TaskRecord,
)

#: like children up to this number are all shown
ALIKE_MAX: Final = 20
#: of more, so many from the start, and so many of those that failed
FIRST: Final = 5
FAILED: Final = 3


@dataclass(slots=True)
class Node:
    """One promise with what it called, in call order."""

    record: PromiseRecord
    children: list[Node] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def role(self) -> str:
        """What it is: call, detached, local, sleep or promise."""
        tags = self.record.tags
        scope = tags.get(TAG_SCOPE)
        if scope in ("detached", "local"):
            return scope
        if tags.get(TAG_TIMER) == "true":
            return "sleep"
        return "call" if TAG_TARGET in tags else "promise"

    @property
    def name(self) -> str:
        """The function's name, else the kind of thing that it is."""
        headers = self.record.param.headers
        if function := headers.get(HEADER_FUNCTION):
            return function
        kind = headers.get(HEADER_KIND, "")
        return kind if kind in ("race", "sleep") else self.role

    @property
    def group(self) -> str | None:
        """The group that performs it; None for what has no task."""
        target = self.record.tags.get(TAG_TARGET)
        if target is None:
            return None
        try:
            return parse_target(target).group
        except InvalidAddressError:
            return target

    def walk(self) -> Iterator[Node]:
        """This node and all below it, a parent before its children."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children))


@dataclass(frozen=True, slots=True)
class Omitted:
    """Stands for like children that are not shown, and all below them."""

    name: str
    #: state to number
    states: Mapping[str, int]

    @property
    def count(self) -> int:
        return sum(self.states.values())


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the drawing: `last` says for each level whether it is the last of its parent."""

    item: Node | Omitted
    last: tuple[bool, ...]


def build(records: Iterable[PromiseRecord], root: str) -> Node | None:
    """The tree below the promise `root`; None if it is not among the records.

    A child hangs below the promise whose function called it (its parent tag, else its branch tag,
    else what stands before the last dot of its id). Records that do not hang below `root` are left
    out.
    """
    nodes = {record.id: Node(record) for record in records}
    if root not in nodes:
        return None
    for id, node in nodes.items():
        parent = _parent_of(node.record, nodes)
        if parent is not None and id != root:
            nodes[parent].children.append(node)
    for node in nodes.values():
        node.children = _in_call_order(node.id, node.children)
    return nodes[root]


def _parent_of(record: PromiseRecord, nodes: Mapping[str, Node]) -> str | None:
    for parent in (record.tags.get(TAG_PARENT), record.tags.get(TAG_BRANCH)):
        if parent is not None and parent != record.id and parent in nodes:
            return parent
    return _by_id(record.id, nodes)


def _by_id(id: str, nodes: Mapping[str, Node]) -> str | None:
    above = id
    while "." in above:
        above = above.rpartition(".")[0]
        if above in nodes:
            return above
    return None


def _in_call_order(parent: str, children: list[Node]) -> list[Node]:
    """By their number; those whose number is not known stand where their creation puts them."""
    numbered: list[tuple[tuple[int, ...], Node]] = []
    others: list[Node] = []
    for child in children:
        place = _place(parent, child.record.param.headers.get(HEADER_PLACE, child.id))
        if place:
            numbered.append((place, child))
        else:
            others.append(child)
    numbered.sort(key=lambda pair: pair[0])
    others.sort(key=lambda node: (node.record.created_at, node.id))
    ordered: list[Node] = []
    for _, child in numbered:
        while others and others[0].record.created_at < child.record.created_at:
            ordered.append(others.pop(0))
        ordered.append(child)
    return ordered + others


def _place(parent: str, id: str) -> tuple[int, ...]:
    """``p.2.10`` below ``p`` is (2, 10); empty for an id that was chosen."""
    if not id.startswith(f"{parent}."):
        return ()
    parts = id[len(parent) + 1 :].split(".")
    if not all(part.isascii() and part.isdigit() for part in parts):
        return ()
    return tuple(map(int, parts))


# -- what is shown --------------------------------------------------------------------------------


def lines(root: Node, *, everything: bool = False) -> list[Line]:
    """The lines to draw, from the top.

    Of more than 20 like children (same function, same role) the first five are shown, and three of
    those that failed; the rest is counted. `everything` shows all.
    """
    shown: list[Line] = []
    waiting: list[Line] = [Line(root, ())]
    while waiting:
        line = waiting.pop()
        shown.append(line)
        if isinstance(line.item, Omitted):
            continue
        items = list(line.item.children) if everything else _selected(line.item.children)
        below = [
            Line(item, (*line.last, index == len(items) - 1)) for index, item in enumerate(items)
        ]
        waiting.extend(reversed(below))
    return shown


def _selected(children: list[Node]) -> list[Node | Omitted]:
    kinds = Counter((child.name, child.role) for child in children)
    if not any(count > ALIKE_MAX for count in kinds.values()):
        return list(children)
    chosen = _chosen(children, kinds)
    hidden: dict[tuple[str, str], Counter[str]] = {}
    last_shown: dict[tuple[str, str], int] = {}
    for index, child in enumerate(children):
        kind = (child.name, child.role)
        if index in chosen:
            last_shown[kind] = index
        else:
            hidden.setdefault(kind, Counter())[child.record.state] += 1
    items: list[Node | Omitted] = []
    for index, child in enumerate(children):
        kind = (child.name, child.role)
        if index in chosen:
            items.append(child)
            if last_shown[kind] == index and kind in hidden:
                items.append(Omitted(child.name, hidden[kind]))
    return items


def _chosen(children: list[Node], kinds: Mapping[tuple[str, str], int]) -> set[int]:
    """Indexes of the children that are shown."""
    chosen = set()
    first: Counter[tuple[str, str]] = Counter()
    failed: Counter[tuple[str, str]] = Counter()
    for index, child in enumerate(children):
        kind = (child.name, child.role)
        if kinds[kind] <= ALIKE_MAX or first[kind] < FIRST:
            first[kind] += 1
            chosen.add(index)
        elif child.record.state not in (PENDING, RESOLVED) and failed[kind] < FAILED:
            failed[kind] += 1
            chosen.add(index)
    return chosen


def attempts(node: Node, task: TaskRecord | None) -> int:
    """How often it was tried: the attempt that settled it, or the one that is under way or due.

    Of a local step that is not settled nobody but its node knows: 1.
    """
    failures = 0 if task is None else task.failures
    text = node.record.value.headers.get(HEADER_ATTEMPT, "")
    return int(text) if text.isascii() and text.isdigit() else failures + 1


def status(node: Node, task: TaskRecord | None, served: Mapping[str, int], now_ms: int) -> str:
    """Where it stands, in words.

    Parameters
    ----------
    task
        Its task, if it has one and it is pending.
    served
        Group to number of nodes; a group that is not there has none.
    """
    record = node.record
    if record.settled:
        return record.state.removeprefix("rejected_") if record.state != "rejected" else "rejected"
    if task is None:
        return _untasked(node, record)
    if task.state == "acquired":
        return "running"
    if task.state == "suspended":
        return "waiting"
    if task.state == "pending":
        group = node.group or task.target
        if not served.get(group):
            return f"queued: nothing serves group {group}"
        due_ms = (task.retry_at or 0) - now_ms
        later = f", due in {due_ms / 1000:.1f} s" if due_ms > 0 else ""
        return f"queued for group {group}{later}"
    return "parked" if task.deaths and task.state == "halted" else task.state


def _untasked(node: Node, record: PromiseRecord) -> str:
    if node.role == "local":
        return "running"
    if node.role == "sleep":
        return "sleeping"
    if record.tags.get(TAG_EXTERNAL) == "true":
        return "pending: waits for the outside"
    return PENDING
