"""Groups, nodes and queues as JSON data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from understudy_broker.protocol.messages import GroupsReport


def groups_json(report: GroupsReport) -> dict[str, Any]:
    """Return the report as JSON data."""
    return {
        "groups": [
            {
                "name": group.name,
                "queued": group.queued,
                "waiting_ms": group.waiting_ms,
                "unserved": [
                    {"function": name, "version": version, "queued": count}
                    for name, version, count in group.unserved
                ],
                "pauses": [
                    {
                        "function": pause.function or None,
                        "since": pause.since,
                        "reason": pause.reason,
                        "by": pause.by or None,
                    }
                    for pause in group.pauses
                ],
                "nodes": [
                    {
                        "name": node.name,
                        "pid": node.pid,
                        "os_pid": node.os_pid,
                        "host": node.host,
                        "credit": node.credit,
                        "held": node.held,
                        "concurrency": node.concurrency,
                        "silent_ms": node.silent_ms,
                        "blocked": node.blocked or None,
                        "blocked_ms": node.blocked_ms,
                        "build": node.build or None,
                        "functions": list(node.functions),
                    }
                    for node in group.nodes
                ],
            }
            for group in report.groups
        ],
        "limited": [
            {"identity": identity, "text": text, "ago_ms": ago_ms}
            for identity, text, ago_ms in report.limited
        ],
        "counters": report.counters,
    }
