"""Drawing a call graph: as text, and as JSON data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from understudy.cli.graph import Line, Node, Omitted, attempts, status
from understudy.cli.json_data import decoded, failure, node_of, reason, trouble
from understudy.cli.tables import duration
from understudy_store.records import HEADER_SITE, RESOLVED, TaskRecord


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known beside the promises, at one moment."""

    now_ms: int
    #: id to task, of those that are shown
    tasks: Mapping[str, TaskRecord] = field(default_factory=dict)
    #: group to number of its nodes
    served: Mapping[str, int] = field(default_factory=dict)


def drawn(shown: Sequence[Line], around: Surroundings) -> list[str]:
    """The lines, in columns: branches and id, function, status, time, more."""
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
            f"{count:,} {state.removeprefix('rejected_')}" for state, count in item.states.items()
        )
        return "", f"… {item.count:,} more {item.name}: {states}", ""
    return item.id, _label(item), "  ".join(_facts(item, around))


def _label(node: Node) -> str:
    return f"{node.name} ({node.role})" if node.role in ("local", "detached") else node.name


def _facts(node: Node, around: Surroundings) -> Iterator[str]:
    task = around.tasks.get(node.id)
    where = where_of(node, around)
    yield status(node, task, around.served, around.now_ms) + (f" on {where}" if where else "")
    yield duration(took_ms(node, around.now_ms))
    if (count := attempts(node, task)) > 1:
        yield f"{count} attempts" if node.record.settled else f"attempt {count}"
    if why := _why(node, task):
        yield why


def _why(node: Node, task: TaskRecord | None) -> str:
    """Why it failed, or does not go on."""
    return reason(node.record) if node.record.settled else trouble(task)


def change(node: Node, around: Surroundings) -> str:
    """What of a node is worth a line when it changes: all but the time."""
    where = where_of(node, around)
    text = status(node, around.tasks.get(node.id), around.served, 0)
    text = text.partition(", due in")[0] + (f" on {where}" if where else "")
    why = _why(node, around.tasks.get(node.id))
    return f"{node.id}  {_label(node)}  {text}" + (f"  {why}" if why else "")


def where_of(node: Node, around: Surroundings) -> str | None:
    """The node that holds it now."""
    task = around.tasks.get(node.id)
    if node.record.settled or task is None or task.state != "acquired":
        return None
    return node_of(task)


def took_ms(node: Node, now_ms: int) -> int:
    """From its creation to its end, or until now."""
    record = node.record
    end = now_ms if record.settled_at is None else record.settled_at
    return max(0, end - record.created_at)


def as_data(root: Node, around: Surroundings) -> dict[str, Any]:
    """The tree as JSON data, children nested; built without recursion, for deep chains."""
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
        "state": record.state,
        "status": status(node, task, around.served, around.now_ms),
        "group": node.group,
        "node": where_of(node, around),
        "attempts": attempts(node, task),
        "runs": None if task is None else task.version,
        "failures": None if task is None else task.failures,
        "deaths": None if task is None else task.deaths,
        "cause": None if task is None else task.cause,
        "created_at": record.created_at,
        "settled_at": record.settled_at,
        "duration_ms": took_ms(node, around.now_ms),
        "at": record.param.headers.get(HEADER_SITE),
        "value": decoded(record.value.data) if record.state == RESOLVED else None,
        "error": failure(record),
        "children": [],
    }
