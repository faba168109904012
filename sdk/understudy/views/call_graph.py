"""Call graphs: a tree of records, and the lines of it that are shown.

This module is pure: it gets records and returns values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from understudy_actors.interpreter.child_ids import child_id
from understudy_store.addresses import (
    PUSHED_SCHEMES,
    RELAYED_SCHEMES,
    InvalidAddressError,
    group_of,
    scheme_of,
)
from understudy_store.records import (
    DETACHED,
    HEADER_ATTEMPT,
    HEADER_FUNCTION,
    HEADER_KIND,
    HEADER_PLACE,
    LOCAL,
    PENDING,
    PROMISE_WORDS,
    RESOLVED,
    TAG_BRANCH,
    TAG_EXTERNAL,
    TAG_PARENT,
    TAG_SCOPE,
    TAG_TARGET,
    TAG_TIMER,
    TASK_WORDS,
    TRUE,
    PromiseRecord,
    TaskRecord,
)

#: more digits than the number of any call has
_DIGITS_MAX: Final = 12
#: up to this number, children of the same function and role are all shown
ALIKE_MAX: Final = 20
#: beyond it, this many of the first and this many of the failed are shown
FIRST_SHOWN: Final = 5
FAILED_SHOWN: Final = 3
#: begins what is said of a task that no node gets yet
HANDED_OUT_IN: Final = ", to be handed out in "


@dataclass(slots=True)
class Node:
    """A promise with its children, in call order."""

    record: PromiseRecord
    children: list[Node] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def role(self) -> str:
        """One of call, detached, local, sleep and promise."""
        tags = self.record.tags
        scope = tags.get(TAG_SCOPE)
        if scope in (DETACHED, LOCAL):
            return scope
        if tags.get(TAG_TIMER) == TRUE:
            return "sleep"
        return "call" if TAG_TARGET in tags else "promise"

    @property
    def name(self) -> str:
        """The function's name; a promise that calls none has its kind as name."""
        headers = self.record.param.headers
        if function := headers.get(HEADER_FUNCTION):
            return function
        kind = headers.get(HEADER_KIND, "")
        return kind if kind in ("race", "sleep") else self.role

    @property
    def calls_function(self) -> bool:
        return HEADER_FUNCTION in self.record.param.headers

    @property
    def group(self) -> str | None:
        """The group that performs it; None for a promise without a task."""
        target = self.record.tags.get(TAG_TARGET)
        if target is None:
            return None
        try:
            return group_of(target)
        except InvalidAddressError:
            return target

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, each parent before its children."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))


@dataclass(frozen=True, slots=True)
class Omitted:
    """The summary of children that are not shown, with all below them."""

    name: str
    #: state to number
    states: Mapping[str, int]

    @property
    def count(self) -> int:
        return sum(self.states.values())


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the drawing.

    `last` has an entry for each level: whether the item there is the last child of its parent.
    """

    item: Node | Omitted
    last: tuple[bool, ...]


def build(records: Iterable[PromiseRecord], root: str) -> Node | None:
    """Return the tree below the promise `root`; None if `root` is not among the records.

    The parent of a promise is in its parent tag, else in its branch tag, else in its id, before the
    last dot. Records that are not below `root` are left out.
    """
    nodes = {record.id: Node(record) for record in records}
    if root not in nodes:
        return None
    for id, node in nodes.items():
        parent = _parent_of(node.record, nodes)
        if parent is not None and id != root:
            nodes[parent].children.append(node)
    for node in nodes.values():
        if len(node.children) > 1:
            node.children = _in_call_order(node.id, node.children)
    return nodes[root]


def _parent_of(record: PromiseRecord, nodes: Mapping[str, Node]) -> str | None:
    for parent in (record.tags.get(TAG_PARENT), record.tags.get(TAG_BRANCH)):
        if parent is not None and parent != record.id and parent in nodes:
            return parent
    return _parent_by_id(record.id, nodes)


def _parent_by_id(id: str, nodes: Mapping[str, Node]) -> str | None:
    above = id
    while "." in above:
        above = above.rpartition(".")[0]
        if above in nodes:
            return above
    return None


def _in_call_order(parent: str, children: list[Node]) -> list[Node]:
    """Order children by their number; a child without one goes by its time of creation."""
    numbered: list[tuple[tuple[int, ...], Node]] = []
    unnumbered: list[Node] = []
    for child in children:
        numbers = _numbers_below(parent, child.record.param.headers.get(HEADER_PLACE, child.id))
        if numbers:
            numbered.append((numbers, child))
        else:
            unnumbered.append(child)
    numbered.sort(key=lambda pair: pair[0])
    unnumbered.sort(key=lambda node: (node.record.created_at, node.id))
    ordered: list[Node] = []
    for _, child in numbered:
        while unnumbered and unnumbered[0].record.created_at < child.record.created_at:
            ordered.append(unnumbered.pop(0))
        ordered.append(child)
    return ordered + unnumbered


def _numbers_below(parent: str, id: str) -> tuple[int, ...]:
    """Return the numbers in an id: (2, 10) for ``p.2.10`` below ``p``; empty for a chosen id."""
    if not id.startswith(f"{parent}."):
        # The id of a call far down is shortened: only its number is left of its place.
        last = id.rpartition(".")[2]
        is_number = last.isascii() and last.isdigit() and len(last) < _DIGITS_MAX
        return (int(last),) if is_number and child_id(parent, int(last)) == id else ()
    parts = id[len(parent) + 1 :].split(".")
    if not all(part.isascii() and part.isdigit() for part in parts):
        return ()
    return tuple(map(int, parts))


# Lines ------------------------------------------------------------------------------------------


def lines(root: Node, *, everything: bool = False, children: int | None = None) -> list[Line]:
    """Return the lines to draw, from the top.

    Of more than 20 children of the same function and role, the first five and three failed ones are
    shown, and the rest is counted. If `children` is given, so many of the first are shown.
    `everything` shows all.
    """
    shown: list[Line] = []
    stack: list[Line] = [Line(root, ())]
    while stack:
        line = stack.pop()
        shown.append(line)
        if isinstance(line.item, Omitted):
            continue
        items = list(line.item.children) if everything else _select(line.item.children, children)
        below = [
            Line(item, (*line.last, index == len(items) - 1)) for index, item in enumerate(items)
        ]
        stack.extend(reversed(below))
    return shown


def _select(children: list[Node], most: int | None) -> list[Node | Omitted]:
    kinds = Counter((child.name, child.role) for child in children)
    alike_max, first_shown = (ALIKE_MAX, FIRST_SHOWN) if most is None else (most, most)
    if not any(count > alike_max for count in kinds.values()):
        return list(children)
    chosen = _choose(children, kinds, alike_max, first_shown)
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


def _choose(
    children: list[Node], kinds: Mapping[tuple[str, str], int], alike_max: int, first_shown: int
) -> set[int]:
    """Return the indexes of the children that are shown."""
    chosen = set()
    first: Counter[tuple[str, str]] = Counter()
    failed: Counter[tuple[str, str]] = Counter()
    for index, child in enumerate(children):
        kind = (child.name, child.role)
        if kinds[kind] <= alike_max or first[kind] < first_shown:
            first[kind] += 1
            chosen.add(index)
        elif child.record.state not in (PENDING, RESOLVED) and failed[kind] < FAILED_SHOWN:
            failed[kind] += 1
            chosen.add(index)
    return chosen


# Status -----------------------------------------------------------------------------------------


def attempts(node: Node, task: TaskRecord | None) -> int:
    """Return the number of attempts, including one that is running or due.

    The attempts of a pending local call are known only to its node; 1 is returned.
    """
    failures = 0 if task is None else task.failures
    text = node.record.value.headers.get(HEADER_ATTEMPT, "")
    return int(text) if text.isascii() and text.isdigit() else failures + 1


def status(node: Node, task: TaskRecord | None, nodes_of: Mapping[str, int], now_ms: int) -> str:
    """Return the status of a promise in words.

    Parameters
    ----------
    task
        The promise's task; None if it has none.
    nodes_of
        Group to number of nodes; a group that is missing has none.
    """
    record = node.record
    if record.settled:
        return PROMISE_WORDS[record.state]
    if task is None:
        return _status_without_task(node, record)
    if task.state == "pending":
        group = node.group or task.target
        scheme = scheme_of(task.target)
        if scheme in RELAYED_SCHEMES:
            if task.failures:
                return _status_of_retry(task)
            # Whether it has been delivered, only its carrier knows.
            return f"queued for {group}" if scheme in PUSHED_SCHEMES else f"waits in {group}"
        if not nodes_of.get(group):
            return f"queued: nothing serves group {group}"
        if task.failures:
            return _status_of_retry(task)
        due_ms = (task.retry_at or 0) - now_ms
        later = f"{HANDED_OUT_IN}{due_ms / 1000:.1f} s" if due_ms > 0 else ""
        return f"queued for group {group}{later}"
    return "parked" if task.cause and task.state == "halted" else TASK_WORDS[task.state]


def _status_of_retry(task: TaskRecord) -> str:
    moment = datetime.fromtimestamp((task.retry_at or 0) / 1000).astimezone()
    return f"attempt {task.failures + 1} at {moment:%H:%M:%S}"


def _status_without_task(node: Node, record: PromiseRecord) -> str:
    if node.role == LOCAL:
        return "running"
    if node.role == "sleep":
        return "sleeping"
    if record.tags.get(TAG_EXTERNAL) == TRUE:
        return "pending: to be settled from outside"
    return PENDING
