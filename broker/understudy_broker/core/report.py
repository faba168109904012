"""The report of a broker's groups and numbers, which ``understudy groups`` shows."""

from __future__ import annotations

import heapq
from collections.abc import Collection
from typing import Final

from understudy_broker.core.dispatcher import Dispatcher, GroupStatistics
from understudy_broker.core.members import Member, Members
from understudy_broker.core.pauses import Pauses
from understudy_broker.core.sessions import Session, Sessions
from understudy_broker.protocol.messages import GroupInfo, GroupsReport, NodeInfo
from understudy_store.machine import Machine

#: groups that a report has; beyond, those with nodes and with most tasks
GROUPS_MAX: Final = 5_000
#: characters of names of functions that a report has; beyond, a node is told with its first ones
NAMES_CHARS_MAX: Final = 1 << 19
NAMES_LEFT: Final = 16
#: characters of the name of a function that a call asks for and no node has
_CALLEE_CHARS: Final = 256


def groups_report(
    machine: Machine,
    dispatcher: Dispatcher,
    sessions: Sessions,
    members: Members,
    pauses: Pauses,
    numbers: dict[str, int],
    now: int,
) -> GroupsReport:
    """Report all groups that have nodes, members, waiting tasks or pauses, by name.

    Parameters
    ----------
    numbers
        The broker's metrics, as `Metrics.read` gives them. If there are more groups than a report
        has, ``groups_left_out`` says how many are missing.
    """
    queues = {group.name: group for group in dispatcher.statistics().groups}
    nodes: dict[str, list[Session]] = {}
    for session in sessions:
        if session.kind == "node":
            nodes.setdefault(session.group, []).append(session)
    groups = []
    listeners: dict[str, list[NodeInfo]] = {}
    for member in members.by_address.values():
        listeners.setdefault(member.group, []).append(_listener(member, now))
    names: Collection[str] = {*queues, *nodes, *pauses.groups()}
    if len(names) > GROUPS_MAX:
        numbers = {**numbers, "groups_left_out": len(names) - GROUPS_MAX}
        names = heapq.nlargest(
            GROUPS_MAX,
            names,
            key=lambda name: (name in nodes, queues[name].queued if name in queues else 0),
        )
    shown = _FunctionNames()
    for name in sorted(names):
        queue = queues.get(name, GroupStatistics(name, 0, 0, None))
        since = queue.waiting_since
        infos = [
            NodeInfo(
                name=node.name,
                pid=node.pid,
                os_pid=node.os_pid,
                host=node.host,
                credit=dispatcher.available(node.pid),
                held=machine.view.held_count(node.pid),
                silent_ms=max(0, now - node.heard_at),
                functions=shown.of(node),
                concurrency=node.concurrency,
                blocked=node.blocked,
                blocked_ms=max(0, now - node.blocked_since) if node.blocked else 0,
                build=node.build,
            )
            for node in sorted(nodes.get(name, []), key=lambda node: node.name)
        ]
        infos += sorted(listeners.get(name, ()), key=lambda info: info.name)
        waiting_ms = 0 if since is None else max(0, now - since)
        unserved = tuple(
            (function[:_CALLEE_CHARS], version, count)
            for (function, version), count in queue.unserved
        )
        groups.append(
            GroupInfo(name, tuple(infos), queue.queued, waiting_ms, unserved, pauses.of(name))
        )
    return GroupsReport(tuple(groups), numbers)


class _FunctionNames:
    """The names of functions in one report: all, as long as there is room."""

    def __init__(self) -> None:
        self._room = NAMES_CHARS_MAX

    def of(self, node: Session) -> tuple[str, ...]:
        """Return the names of a node's functions, or the first ones."""
        names = node.functions
        size = sum(map(len, names))
        if size > self._room:
            names = names[:NAMES_LEFT]
            size = sum(map(len, names))
        self._room -= size
        return names


def _listener(member: Member, now: int) -> NodeInfo:
    """Describe a member, with the process of its edge: nothing more is known of it."""
    edge = member.sessions[0]
    return NodeInfo(
        name=member.name,
        pid=edge.pid,
        os_pid=edge.os_pid,
        host=edge.host,
        credit=0,
        held=0,
        silent_ms=max(0, now - edge.heard_at),
    )
