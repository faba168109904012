"""Call graphs as text and as JSON data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from understudy.cli.call_graph import HANDED_OUT_IN, Line, Node, Omitted, attempts, status
from understudy.cli.json_data import compact, decoded
from understudy.cli.records import failure, failure_reason, node_of
from understudy.cli.times import duration
from understudy.obstacles import task_trouble
from understudy_store.records import (
    DETACHED,
    HEADER_SITE,
    LOCAL,
    PROMISE_WORDS,
    RESOLVED,
    TaskRecord,
)

#: characters of all arguments of a call
ARGUMENT_CHARS_MAX: Final = 40


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


def draw(shown: Sequence[Line], around: Surroundings) -> list[str]:
    """Draw the lines, in columns: branches and id, function, status, time, and further facts."""
    rows = [(_branches(line.last), *_columns(line.item, around)) for line in shown]
    first = max((len(branches) + len(id) for branches, id, *_ in rows if id), default=0)
    second = max((len(name) for _, id, name, *_ in rows if id), default=0)
    texts = []
    for branches, id, name, rest in rows:
        if not id:
            texts.append(f"{branches}{name}")
        else:
            texts.append(f"{branches + id:<{first}}  {name:<{second}}  {rest}".rstrip())
    return texts


def _branches(last: tuple[bool, ...]) -> str:
    if not last:
        return ""
    above = "".join("   " if ended else "│  " for ended in last[:-1])
    return above + ("└─ " if last[-1] else "├─ ")


def _columns(item: Node | Omitted, around: Surroundings) -> tuple[str, str, str]:
    if isinstance(item, Omitted):
        states = ", ".join(
            f"{count:,} {PROMISE_WORDS[state]}" for state, count in item.states.items()
        )
        return "", f"… {item.count:,} more {item.name}: {states}", ""
    return item.id, _label(item), "  ".join(_facts(item, around))


def _label(node: Node) -> str:
    """Return the function with its arguments: ``price("book") (detached)``."""
    arguments = _arguments(node) if node.record.param.data else ""
    name = f"{node.name}({arguments})" if arguments else node.name
    return f"{name} ({node.role})" if node.role in (LOCAL, DETACHED) else name


def _arguments(node: Node) -> str:
    """Return the arguments of a call in a few characters. Those of steps are not stored."""
    found = decoded(node.record.param.data)
    if not node.calls_function or not isinstance(found, list) or len(found) != 2:
        return compact(found, ARGUMENT_CHARS_MAX)
    args, kwargs = found
    texts = [compact(value, ARGUMENT_CHARS_MAX) for value in args]
    texts += [f"{name}={compact(value, ARGUMENT_CHARS_MAX)}" for name, value in kwargs.items()]
    text = ", ".join(texts)
    return text if len(text) <= ARGUMENT_CHARS_MAX else f"{text[: ARGUMENT_CHARS_MAX - 1]}…"


def _facts(node: Node, around: Surroundings) -> Iterator[str]:
    task = around.tasks.get(node.id)
    holder = holder_of(node, around)
    text = status(node, task, around.nodes_of, around.now_ms)
    yield text + (f" on {holder}" if holder else "")
    yield duration(took_ms(node, around.now_ms))
    if (count := attempts(node, task)) > 1 and not text.startswith("attempt "):
        yield f"{count} attempts" if node.record.settled else f"attempt {count}"
    if trouble := _trouble(node, task, around):
        yield trouble


def _trouble(node: Node, task: TaskRecord | None, around: Surroundings) -> str:
    """Return why the call failed or does not continue; empty if all is well."""
    if node.record.settled:
        return failure_reason(node.record)
    return around.unserved.get(node.id) or task_trouble(task)


def progress_line(node: Node, around: Surroundings) -> str:
    """Describe a node without its times, so that the text changes only when its status does."""
    holder = holder_of(node, around)
    text = status(node, around.tasks.get(node.id), around.nodes_of, 0)
    text = text.partition(HANDED_OUT_IN)[0] + (f" on {holder}" if holder else "")
    trouble = _trouble(node, around.tasks.get(node.id), around)
    return f"{node.id}  {_label(node)}  {text}" + (f"  {trouble}" if trouble else "")


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
        made[node.id] = _data(node, around)
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
        "retry_at": None if task is None else task.retry_at,
        "created_at": record.created_at,
        "settled_at": record.settled_at,
        "duration_ms": took_ms(node, around.now_ms),
        "at": record.param.headers.get(HEADER_SITE),
        "value": decoded(record.value.data) if record.state == RESOLVED else None,
        "error": failure(record),
        "children": [],
    }
