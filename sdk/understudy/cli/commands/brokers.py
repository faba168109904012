"""``understudy brokers``: the brokers of a deployment, each as it answers itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import typer

from understudy.cli.options import AsJson, Url
from understudy.cli.printing import out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from understudy.cli.deployment import BrokerStatus

app = typer.Typer(rich_markup_mode=None, add_completion=False)

#: headers of the numbers, by their names in JSON
_HEADERS: Final = {
    "nodes": "NODES",
    "promises_pending": "PENDING",
    "tasks_queued": "QUEUED",
    "unblocks_owed": "OWED",
    "commands": "COMMANDS",
    "commits": "COMMITS",
    "journal_rows": "JOURNAL",
    "beat_age_ms": "BEAT ms",
}

#: those of brokers that share a database
_SHARED = frozenset({"journal_rows", "beat_age_ms"})


@app.command()
def brokers(as_json: AsJson = False, url: Url = None) -> int:
    """Show the brokers of the deployment, and whether each of them answers.

    Each broker is asked by itself, for at most a second or two, so the others are shown if one is
    down. A single broker has all 256 slots.

    \b
    SLOTS     slots that the broker has (slots); "understudy slots" shows which
    NODES     nodes connected to it; each node connects to every broker (nodes)
    PENDING   promises that are not settled (promises_pending)
    QUEUED    tasks that wait for a node (tasks_queued)
    OWED      settlements that a listener has not acknowledged yet (unblocks_owed)
    COMMANDS  commands performed since its start (commands)
    COMMITS   commits since its start (commits)
    JOURNAL   rows in the journal of a PostgreSQL store that are not in its tables yet
              (journal_rows)
    BEAT ms   the age of its latest sign of life in the database, in milliseconds; after 3000,
              others take over its slots (beat_age_ms)

    STATE is "waits" if the broker accepts connections but does not answer requests, most often
    because its database is away.

    --json prints a list of objects with the keys in brackets; the numbers of a broker that does not
    answer are null there, and "problem" says why, if it is known.

    \b
    Examples:
      understudy brokers
      understudy brokers --json | jq -r '.[] | select(.answers | not) | .name'

    \b
    Exit codes:
      0  all of them answer
      1  one of them does not answer
      4  no broker answers at the given address
    """
    from understudy.cli.deployment import read_statuses
    from understudy.cli.errors import EXIT_FAILED
    from understudy.cli.json_data import print_json

    found = read_statuses(url)
    if as_json:
        print_json([status_json(status) for status in found])
    else:
        out(statuses_text(found))
    return 0 if all(status.report is not None for status in found) else EXIT_FAILED


def status_json(status: BrokerStatus) -> dict[str, Any]:
    """Return the row of one broker as JSON data."""
    return {
        "name": status.name,
        "address": status.address,
        "state": _state(status),
        "answers": status.report is not None,
        "problem": status.problem,
        "slots": len(status.slots),
        **_numbers(status),
    }


def statuses_text(statuses: Sequence[BrokerStatus]) -> str:
    """Return a table with a line for each broker, and below it what to do about those down."""
    from understudy.cli.tables import table

    numbers = [_numbers(status) for status in statuses]
    shared = any(each["beat_age_ms"] is not None for each in numbers)
    names = [name for name in _HEADERS if shared or name not in _SHARED]
    rows = [
        (
            status.name,
            status.address,
            _state(status),
            len(status.slots),
            *[each[name] for name in names],
        )
        for status, each in zip(statuses, numbers, strict=True)
    ]
    headers = [_HEADERS[name] for name in names]
    lines = [table(("BROKER", "ADDRESS", "STATE", "SLOTS", *headers), rows)]
    lines += [_advice(status, shared=shared) for status in statuses if status.report is None]
    return "\n".join(lines)


def _state(status: BrokerStatus) -> str:
    if status.report is not None:
        return "answers"
    return "waits" if status.is_there else "does not answer"


def _numbers(status: BrokerStatus) -> dict[str, int | None]:
    report = status.report
    if report is None:
        return dict.fromkeys(_HEADERS)
    sums = {
        "nodes": sum(len(group.nodes) for group in report.groups),
        "tasks_queued": sum(group.queued for group in report.groups),
    }
    return {name: sums.get(name, report.counters.get(name)) for name in _HEADERS}


def _advice(status: BrokerStatus, *, shared: bool) -> str:
    if status.problem is not None:
        return f"Broker {status.name}: {status.problem}"
    wait = (
        f"Broker {status.name} does not answer at {status.address}, so calls in its "
        f"{len(status.slots)} slots wait"
    )
    if shared:
        return f"{wait} until the others have taken them over, which takes some seconds"
    return f"{wait}. Start it with: understudy broker --name {status.name} --config FILE"
