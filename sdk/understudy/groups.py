"""Groups and their nodes, as `Runtime.groups` returns them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from understudy.client.answers import ask
from understudy.client.session import ClientSession
from understudy.renamed import warn_renamed
from understudy_broker.protocol.messages import GroupsGet, GroupsReport, Response


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is connected to the broker.

    Attributes
    ----------
    name : str
        The node's id.
    pid : str
        The name under which it holds tasks: its id, ``#``, and a part that is new with each start.
    os_pid : int
        The process id on its host.
    host : str
        The name of its host.
    credit : int
        How many more tasks it has room for.
    held : int
        How many tasks it has in hand: those that run, and those that wait in it for their turn or,
        for a moment, for other calls.
    silent_s : float
        Seconds since the broker has last heard from it.
    functions : tuple of str
        The names of the functions that are registered in it.
    concurrency : int or None
        How many functions it runs at a time; None if it is of a release that does not say it.

    Examples
    --------
    >>> nodes = [node for group in runtime.groups().groups for node in group.nodes]
    >>> [(node.name, node.held, node.concurrency) for node in nodes]
    [('ann', 0, 32)]
    """

    name: str
    pid: str
    os_pid: int
    host: str
    credit: int
    held: int
    silent_s: float
    functions: tuple[str, ...] = ()
    concurrency: int | None = None

    @property
    def silent_ms(self) -> int:
        """The old form of `silent_s`, in milliseconds."""
        warn_renamed("Node.silent_ms", "Node.silent_s")
        return round(self.silent_s * 1000)


@dataclass(frozen=True, slots=True)
class Group:
    """A group: its nodes, and the tasks that wait for one of them.

    Attributes
    ----------
    name : str
        The name of the group.
    nodes : tuple of Node
        The nodes that are connected.
    queued : int
        How many tasks wait for a node.
    waiting_s : float
        For how many seconds the oldest of them has waited; 0 if none waits.

    Examples
    --------
    >>> handle = runtime.options(target="bank").rpc("charge-1", "charge", 120)
    >>> [group.name for group in runtime.groups().groups if group.queued and not group.nodes]
    ['bank']
    """

    name: str
    nodes: tuple[Node, ...]
    queued: int
    waiting_s: float

    @property
    def waiting_ms(self) -> int:
        """The old form of `waiting_s`, in milliseconds."""
        warn_renamed("Group.waiting_ms", "Group.waiting_s")
        return round(self.waiting_s * 1000)


@dataclass(frozen=True, slots=True)
class Groups:
    """All groups at one moment, and what the broker has counted since it started.

    Attributes
    ----------
    groups : tuple of Group
        Groups that have a node, or a task that waits for one, in the order of their names.
    counters : dict of str to int
        Numbers that only grow, such as ``commits``.

    Examples
    --------
    >>> [group.name for group in runtime.groups().groups]
    ['shop']
    """

    groups: tuple[Group, ...]
    counters: dict[str, int] = field(hash=False)

    def __await__(self) -> Generator[Any, Any, Groups]:
        """Return the groups themselves; see `Runtime.groups`."""
        yield from ()
        return self


def read_groups(session: ClientSession) -> Groups:
    """Ask the broker for its groups."""
    return ask(session, "groups()", GroupsGet(), _groups_of)


def _groups_of(response: Response) -> Groups:
    assert response.report is not None
    return _groups(response.report)


def _groups(report: GroupsReport) -> Groups:
    return Groups(
        tuple(
            Group(
                group.name,
                tuple(
                    Node(
                        node.name,
                        node.pid,
                        node.os_pid,
                        node.host,
                        node.credit,
                        node.held,
                        node.silent_ms / 1000,
                        node.functions,
                        node.concurrency,
                    )
                    for node in group.nodes
                ),
                group.queued,
                group.waiting_ms / 1000,
            )
            for group in report.groups
        ),
        report.counters,
    )
