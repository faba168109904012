"""The builds of the programs that nodes run, with what they do at this moment. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from understudy.ui.row_changes import row_key

if TYPE_CHECKING:
    from understudy_broker.protocol.messages import GroupsReport, NodeInfo


@dataclass(frozen=True, slots=True)
class BuildRow:
    """A build.

    Attributes
    ----------
    name
        As the nodes say it; empty: they do not.
    groups, nodes
        Names, in order.
    running
        Tasks that its nodes have in hand.
    concurrency
        Functions that they run at a time; None: one of them does not say it.
    """

    key: str
    name: str
    groups: Sequence[str]
    nodes: Sequence[str]
    running: int
    concurrency: int | None

    @property
    def load(self) -> float:
        """The part of its room that is taken, from 0 to 1."""
        return min(1.0, self.running / self.concurrency) if self.concurrency else 0.0


def build_rows(report: GroupsReport) -> list[BuildRow]:
    """Return the builds, by name; the nodes that say none come last."""
    found: dict[str, list[tuple[str, NodeInfo]]] = {}
    for group in report.groups:
        for node in group.nodes:
            found.setdefault(node.build, []).append((group.name, node))
    return [_row(name, found[name]) for name in sorted(found, key=lambda name: (not name, name))]


def _row(name: str, nodes: Sequence[tuple[str, NodeInfo]]) -> BuildRow:
    sizes = [node.concurrency for _, node in nodes]
    return BuildRow(
        key=row_key("build", name),
        name=name,
        groups=sorted({group for group, _ in nodes}),
        nodes=sorted(node.name for _, node in nodes),
        running=sum(node.held for _, node in nodes),
        concurrency=None if None in sizes else sum(filter(None, sizes)),
    )
