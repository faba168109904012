"""``understudy groups``: groups, nodes and queues; pauses of groups and functions."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Annotated, Final

import typer

from understudy.cli import completion
from understudy.cli.errors import UsageError
from understudy.cli.options import AsJson, Url
from understudy.cli.printing import out, printable_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from understudy_broker.protocol.messages import GroupInfo, GroupsReport, NodeInfo, PauseInfo

app = typer.Typer(rich_markup_mode=None, add_completion=False)

#: function names shown for each node
_NAMES_MAX: Final = 4


Group = Annotated[
    str,
    typer.Argument(metavar="GROUP", help="The group.", autocompletion=completion.groups),
]
FunctionName = Annotated[
    str | None,
    typer.Option("--function", "-f", metavar="NAME", help="Only this function of the group."),
]


@app.callback(invoke_without_command=True)
def groups(context: typer.Context, as_json: AsJson = False, url: Url = None) -> int:
    """Show the groups, their nodes and their queues; pause them, and let them go on.

    \b
    PID      the node's process id on its host, for kill
    RUNNING  tasks that the node has in hand / functions that it runs at a time; the tasks beyond
             that wait in the node for their turn or, for a moment, for other calls
    QUEUED   tasks that wait for a node of the group
    WAITING  the age of the oldest of these
    BUILD    what UNDERSTUDY_BUILD says in the node's process, if any node has it

    --json prints one object with the groups (RUNNING is held and concurrency there; credit is how
    many more tasks a node asks for) and the broker's counters since its start.

    \b
    Examples:
      understudy groups
      understudy groups --json | jq '.groups[] | {name, queued}'
      understudy groups pause shop --reason 'the bank is down'
    """
    if context.invoked_subcommand is not None:
        return 0
    from understudy.cli.client import Client
    from understudy.cli.json_data import print_json
    from understudy.views.groups import groups_json

    with Client(url) as client:
        report = client.groups()
    if as_json:
        print_json(groups_json(report))
    else:
        out(groups_text(report))
    return 0


@app.command()
def pause(
    group: Group,
    function: FunctionName = None,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why, for people to see.", show_default=False)
    ] = "",
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Give no more calls of a group to its nodes, or of one of its functions.

    Calls are still taken, and wait. What runs goes on until it ends or waits for something; then it
    waits, too. Deadlines still count. The pause lasts, also when brokers are started anew, until it
    is ended by understudy groups resume.

    --json prints one object.

    \b
    Examples:
      understudy groups pause shop
      understudy groups pause shop --function charge --reason 'the bank is down'
    """
    return _set(group, function, reason, as_json=as_json, url=url, paused=True)


@app.command()
def resume(
    group: Group, function: FunctionName = None, as_json: AsJson = False, url: Url = None
) -> int:
    """Let a group go on, or one of its functions.

    A function that was paused by itself stays paused when its group goes on.

    --json prints one object.

    \b
    Examples:
      understudy groups resume shop
      understudy groups resume shop --function charge
    """
    return _set(group, function, "", as_json=as_json, url=url, paused=False)


def _set(
    group: str, function: str | None, reason: str, *, as_json: bool, url: str | None, paused: bool
) -> int:
    from understudy.cli.client import Client
    from understudy.cli.json_data import print_json
    from understudy_broker.protocol.messages import GroupPause

    if function == "":
        raise UsageError("--function has no name; leave it out to concern the whole group")
    with Client(url) as client:
        client.command(GroupPause(group, function or "", paused, reason))
        found = next((each for each in client.groups().groups if each.name == group), None)
    queued = 0 if found is None else found.queued
    left = () if found is None else found.pauses
    if as_json:
        fields = {"group": group, "function": function, "paused": paused, "queued": queued}
        print_json(fields)
        return 0
    what = f"group {group}" if function is None else f"function {function} of group {group}"
    tasks = "1 task waits" if queued == 1 else f"{queued:,} tasks wait"
    if paused:
        option = "" if function is None else f" --function {quote(function)}"
        out(f"{printable_line(what)} is paused; in the group {tasks}")
        out(f"To let it go on: understudy groups resume {quote(group)}{option}")
        return 0
    out(f"{printable_line(what)} goes on; in the group {tasks}")
    for line in _paused(group, left):
        out(f"Still: {line}")
    return 0


def _paused(group: str, pauses: Iterable[PauseInfo]) -> list[str]:
    """Describe what of a group is paused, and what ends it."""
    from understudy.obstacles import paused_text, resume_command

    return [
        printable_line(f"{paused_text(group, each)}: {resume_command(group, each)}")
        for each in pauses
    ]


def groups_text(report: GroupsReport) -> str:
    """Return a table with a line for each node, and below it the groups that lack one."""
    from understudy.cli.tables import table, terminal_width
    from understudy.cli.times import duration

    if not report.groups:
        text = (
            "There are no groups: no node has joined and no task waits for one. Start a node with: "
            "understudy node app:runtime --group NAME"
        )
        return "\n".join([text, *_insecure(report)])
    headers = ["GROUP", "NODE", "HOST", "PID", "RUNNING", "QUEUED", "WAITING", "SERVES"]
    rows = [row for group in report.groups for row in _rows(group)]
    if any(node.build for group in report.groups for node in group.nodes):
        headers.insert(-1, "BUILD")
    else:
        rows = [(*row[:-2], row[-1]) for row in rows]
    lines = [table(headers, rows, width=terminal_width(), elastic=("SERVES", "HOST"))]
    below = [line for group in report.groups for line in _paused(group.name, group.pauses)]
    below += [_unserved_text(group) for group in report.groups if group.queued and not group.nodes]
    below += [line for group in report.groups if group.nodes for line in _lacking(group)]
    if left_out := report.counters.get("groups_left_out"):
        below.append(f"{left_out:,} groups more, which have no nodes and fewer tasks")
    below += [line for group in report.groups for line in _blocked(group)]
    below += [f"{duration(ago_ms)} ago: {text}" for _, text, ago_ms in report.limited]
    below += _insecure(report)
    return "\n".join([*lines, *map(printable_line, below)])


def _insecure(report: GroupsReport) -> list[str]:
    if not report.counters.get("insecure"):
        return []
    text = "Other machines can reach the broker, which asks for no keys: anyone can do everything"
    return [f"{text} (--insecure)"]


def _rows(group: GroupInfo) -> list[tuple[object, ...]]:
    from understudy.cli.times import duration

    waiting = duration(group.waiting_ms) if group.queued else None
    if not group.nodes:
        return [(group.name, None, None, None, None, group.queued, waiting, None, None)]
    rows: list[tuple[object, ...]] = []
    for index, node in enumerate(group.nodes):
        # The group's own columns are filled in its first line only.
        name, queue = (group.name, (group.queued, waiting)) if index == 0 else ("", ("", ""))
        names = sorted(set(node.functions))
        serves = ", ".join(names[:_NAMES_MAX])
        if len(names) > _NAMES_MAX:
            serves += f", … ({len(names)})"
        where = (name, node.name, node.host, node.os_pid, _running(node), *queue)
        rows.append((*where, node.build or None, serves))
    return rows


def _running(node: NodeInfo) -> str:
    """Return how busy a node is: ``3/32``, or ``3`` if the node does not say its concurrency."""
    return str(node.held) if node.concurrency is None else f"{node.held}/{node.concurrency}"


def _blocked(group: GroupInfo) -> list[str]:
    """Describe what keeps nodes from their work."""
    from understudy.cli.times import duration

    return [
        f"{node.name} of group {group.name}, for {duration(node.blocked_ms)}: {node.blocked}"
        for node in group.nodes
        if node.blocked
    ]


def _lacking(group: GroupInfo) -> list[str]:
    """Describe the calls that wait for a function that no node of the group has."""
    from understudy.obstacles import lacks_text

    return [
        f"{'1 task waits' if count == 1 else f'{count:,} tasks wait'}: "
        f"{lacks_text(group, name, version)}"
        for name, version, count in group.unserved
    ]


def _unserved_text(group: GroupInfo) -> str:
    """Describe a group that has tasks and no node, and say what to do."""
    from understudy.cli.times import duration

    tasks = "1 task waits" if group.queued == 1 else f"{group.queued:,} tasks wait"
    return (
        f"Nothing serves group {group.name}: {tasks}, the oldest for "
        f"{duration(group.waiting_ms)}. Start a node with: "
        f"understudy node app:runtime --group {group.name}"
    )
