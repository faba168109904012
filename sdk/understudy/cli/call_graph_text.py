"""Call graphs as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from understudy.cli.printing import printable_line
from understudy.cli.times import duration, moment
from understudy.obstacles import task_trouble
from understudy.views.call_graph import HANDED_OUT_IN, Line, Node, Omitted, attempts, status
from understudy.views.call_graph_data import Surroundings, holder_of, took_ms
from understudy.views.json_data import compact, decoded
from understudy.views.progress import progress_text
from understudy.views.records import failure_reason
from understudy_store.records import (
    DETACHED,
    LOCAL,
    PROMISE_WORDS,
    AttemptRecord,
    TaskRecord,
)

#: characters of all arguments of a call
ARGUMENT_CHARS_MAX: Final = 40


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
    if around.log:
        texts = list(_with_attempts(texts, shown, around.log))
    return [printable_line(text) for text in texts]


def _with_attempts(
    texts: Sequence[str], shown: Sequence[Line], log: Mapping[str, Sequence[AttemptRecord]]
) -> Iterator[str]:
    """Put below the line of each call its attempts that ended badly."""
    for text, line in zip(texts, shown, strict=True):
        yield text
        if isinstance(line.item, Node):
            indent = "".join("   " if ended else "│  " for ended in line.last)
            below = "│" if line.item.children else " "
            for attempt in log.get(line.item.id, ()):
                yield f"{indent}{below}    {attempt_text(attempt)}"


def attempt_text(attempt: AttemptRecord) -> str:
    """Describe an attempt: ``! 2 raised on orders-1 (web-3) after 1.2 s  ValueError: too late``."""
    text = f"! {attempt.n} {attempt.end}"
    if attempt.node is not None:
        text += f" on {attempt.node}" + (f" ({attempt.host})" if attempt.host else "")
    if attempt.started_at is not None:
        text += f" after {duration(attempt.ended_at - attempt.started_at)}"
    text += f", {moment(attempt.ended_at)} UTC"
    reason = attempt.text or attempt.error
    return f"{text}: {reason}" if reason else text


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
    if progress := progress_text(around.progress.get(node.id)):
        yield progress
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
    return printable_line(
        f"{node.id}  {_label(node)}  {text}" + (f"  {trouble}" if trouble else "")
    )
