"""States as the pages show them: a word, a sign, and the kind that gives the color. Pure.

No meaning is in a color alone: the word always stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from understudy.views.call_graph import Node, status
from understudy_store.records import (
    LOCAL,
    PENDING,
    PROMISE_WORDS,
    REJECTED,
    RESOLVED,
    TAG_EXTERNAL,
    TIMEDOUT,
    TRUE,
    TaskRecord,
)

Kind: TypeAlias = Literal[
    "done", "failed", "canceled", "queued", "running", "waiting", "retrying", "parked", "person"
]

_SIGNS: Final[Mapping[Kind, str]] = {
    "done": "✓",
    "failed": "✕",
    "canceled": "–",
    "queued": "○",
    "running": "●",
    "waiting": "◔",
    "retrying": "↻",
    "parked": "■",
    "person": "?",
}


class Badge(NamedTuple):
    """A state as it is shown.

    Attributes
    ----------
    kind
        The class of its color.
    text
        The state in a few words.
    """

    kind: Kind
    text: str

    @property
    def sign(self) -> str:
        """A character for the kind, so that it can be told without color."""
        return _SIGNS[self.kind]


def settled_badge(state: str) -> Badge:
    """Return the badge of a promise that has settled.

    Examples
    --------
    >>> settled_badge("rejected_timedout")
    Badge(kind='failed', text='timedout')
    """
    kind: Kind = "canceled"
    if state == RESOLVED:
        kind = "done"
    elif state in (REJECTED, TIMEDOUT):
        kind = "failed"
    return Badge(kind, PROMISE_WORDS[state])


def badge_of(
    node: Node, task: TaskRecord | None, nodes_of: Mapping[str, int] | None, now_ms: int
) -> Badge:
    """Return the badge of a promise.

    Parameters
    ----------
    nodes_of
        Group to number of nodes. None: it is not known, because no broker was asked.
    """
    if node.record.settled:
        return settled_badge(node.record.state)
    if task is None and nodes_of is None and node.group is not None:
        return Badge("waiting", "pending")
    known = {node.group or "": 1, **({} if task is None else {task.target: 1})}
    text = status(node, task, known if nodes_of is None else nodes_of, now_ms)
    return Badge(_pending_kind(node, task), text)


def _pending_kind(node: Node, task: TaskRecord | None) -> Kind:
    if task is None:
        if node.role == LOCAL:
            return "running"
        is_persons = node.record.tags.get(TAG_EXTERNAL) == TRUE and node.role != "sleep"
        return "person" if is_persons else "waiting"
    if task.state == PENDING:
        return "retrying" if task.failures else "queued"
    kinds: dict[str, Kind] = {"acquired": "running", "halted": "parked"}
    return kinds.get(task.state, "waiting")
