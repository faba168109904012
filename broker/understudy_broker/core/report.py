"""The report that `understudy groups` shows."""

from __future__ import annotations

import msgspec

from understudy_broker.core.dispatcher import Dispatcher, GroupStatistics
from understudy_broker.core.metrics import Counters
from understudy_broker.core.sessions import Session, Sessions
from understudy_broker.protocol.messages import GroupInfo, GroupsReport, NodeInfo
from understudy_store.machine import Machine


def groups_report(
    machine: Machine, dispatcher: Dispatcher, sessions: Sessions, counters: Counters, now: int
) -> GroupsReport:
    """All groups that have nodes or waiting tasks, by name; the counters, and the machine's own."""
    queues = {group.name: group for group in dispatcher.statistics().groups}
    nodes: dict[str, list[Session]] = {}
    for session in sessions:
        if session.kind == "node":
            nodes.setdefault(session.group, []).append(session)
    groups = []
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
            )
            for node in sorted(nodes.get(name, []), key=lambda node: node.name)
        ]
        waiting_ms = 0 if since is None else max(0, now - since)
        groups.append(GroupInfo(name, tuple(infos), queue.queued, waiting_ms))
    counts = counters.as_dict()
    counts["peers"] = len(sessions)
    counts |= msgspec.structs.asdict(machine.view.statistics())
    return GroupsReport(tuple(groups), counts)
