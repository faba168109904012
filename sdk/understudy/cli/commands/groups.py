"""``understudy groups``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from understudy.cli.options import AsJson, Url

if TYPE_CHECKING:
    from understudy_broker.protocol.messages import GroupInfo, GroupsReport

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def groups(as_json: AsJson = False, url: Url = None) -> int:
    """Show the groups, their nodes, and what waits for them.

    CREDIT: tasks that a node has room for now. HELD: tasks that it performs or keeps warm. QUEUED:
    tasks that wait for a node of the group; WAITING: for how long the oldest has.

    \b
    Examples:
      understudy groups
      understudy groups --json | jq '.groups[] | {name, queued}'
    """
    from understudy.cli.client import Client
    from understudy.cli.tables import print_json

    with Client(url) as client:
        report = client.groups()
    if as_json:
        print_json(groups_json(report))
    else:
        print(groups_text(report))
    return 0


def groups_json(report: GroupsReport) -> dict[str, Any]:
    """The report as JSON data."""
    return {
        "groups": [
            {
                "name": group.name,
                "queued": group.queued,
                "waiting_ms": group.waiting_ms,
                "nodes": [
                    {
                        "name": node.name,
                        "pid": node.pid,
                        "os_pid": node.os_pid,
                        "host": node.host,
                        "credit": node.credit,
                        "held": node.held,
                        "silent_ms": node.silent_ms,
                        "functions": list(node.functions),
                    }
                    for node in group.nodes
                ],
            }
            for group in report.groups
        ],
        "counters": report.counters,
    }


def groups_text(report: GroupsReport) -> str:
    """A table with a line for each node, and below it what is amiss."""
    from understudy.cli.tables import table

    if not report.groups:
        return (
            "No groups: there is no node, and nothing waits for one. Start a node with: "
            "understudy node app:runtime --group NAME"
        )
    headers = ("GROUP", "NODE", "HOST", "PROCESS", "CREDIT", "HELD", "QUEUED", "WAITING", "SERVES")
    lines = [table(headers, [row for group in report.groups for row in _rows(group)])]
    lines += [unserved(group) for group in report.groups if group.queued and not group.nodes]
    return "\n".join(lines)


def _rows(group: GroupInfo) -> list[tuple[object, ...]]:
    from understudy.cli.tables import duration

    waiting = duration(group.waiting_ms) if group.queued else None
    if not group.nodes:
        return [(group.name, None, None, None, None, None, group.queued, waiting, None)]
    rows: list[tuple[object, ...]] = []
    for index, node in enumerate(group.nodes):
        names = sorted(set(node.functions))
        serves = ", ".join(names[:4]) + (f", … ({len(names)})" if len(names) > 4 else "")
        shared = (group.queued, waiting) if index == 0 else ("", "")
        name = group.name if index == 0 else ""
        rows.append(
            (name, node.name, node.host, node.os_pid, node.credit, node.held, *shared, serves)
        )
    return rows


def unserved(group: GroupInfo) -> str:
    """What to say of a group that has work and nobody to do it."""
    from understudy.cli.tables import duration

    tasks = "1 task waits" if group.queued == 1 else f"{group.queued:,} tasks wait"
    return (
        f"Nothing serves group {group.name}: {tasks}, the oldest for "
        f"{duration(group.waiting_ms)}. Start a node with: "
        f"understudy node app:runtime --group {group.name}"
    )
