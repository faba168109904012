"""The report of a broker's groups and numbers, which ``understudy groups`` shows."""

from __future__ import annotations

from understudy_broker.core.dispatcher import Dispatcher, GroupStatistics
from understudy_broker.core.members import Member, Members
from understudy_broker.core.sessions import Session, Sessions
from understudy_broker.protocol.messages import GroupInfo, GroupsReport, NodeInfo
from understudy_store.machine import Machine


def groups_report(
    machine: Machine,
    dispatcher: Dispatcher,
    sessions: Sessions,
    members: Members,
    numbers: dict[str, int],
    now: int,
) -> GroupsReport:
    """Report all groups that have nodes, members or waiting tasks, by name.

    Parameters
    ----------
    numbers
        The broker's metrics, as `Metrics.read` gives them.
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
    for name in sorted(queues.keys() | nodes.keys()):
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
                functions=node.functions,
                concurrency=node.concurrency,
            )
            for node in sorted(nodes.get(name, []), key=lambda node: node.name)
        ]
        infos += sorted(listeners.get(name, ()), key=lambda info: info.name)
        waiting_ms = 0 if since is None else max(0, now - since)
        unserved = tuple((*callee, count) for callee, count in queue.unserved)
        groups.append(GroupInfo(name, tuple(infos), queue.queued, waiting_ms, unserved))
    return GroupsReport(tuple(groups), numbers)


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
