"""``understudy tasks``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from understudy.cli.options import AsJson, Url

if TYPE_CHECKING:
    from understudy_store.records import TaskRecord

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

STATES: Final = ("pending", "acquired", "suspended", "halted", "fulfilled")

Id = Annotated[str, typer.Argument(metavar="ID", help="Of the task: its promise's.")]


@app.callback()
def tasks() -> None:
    """Look at tasks: who holds which, why one is parked; halt, continue.

    \b
    Examples:
      understudy tasks search --state acquired --group orders
      understudy tasks halt order-7
    """


@app.command()
def get(id: Id, as_json: AsJson = False, url: Url = None) -> int:
    """Show one task.

    \b
    Example:
      understudy tasks get order-7
    """
    from understudy_store.commands import TaskGet

    return _one(TaskGet(id), as_json, url)


@app.command()
def halt(id: Id, as_json: AsJson = False, url: Url = None) -> int:
    """Take a task from its node and hand it to nobody, until it is continued.

    Its promise stays pending, and its deadline still counts.

    \b
    Example:
      understudy tasks halt order-7
    """
    from understudy_store.commands import TaskHalt

    return _one(TaskHalt(id), as_json, url)


@app.command("continue")
def continue_(id: Id, as_json: AsJson = False, url: Url = None) -> int:
    """Let a halted or parked task be handed out again.

    A task is parked, which is halted with a cause, when whoever held it vanished several times in a
    row (the broker's setting deaths_max). The count begins anew.

    \b
    Example:
      understudy tasks continue order-7
    """
    from understudy_store.commands import TaskContinue

    return _one(TaskContinue(id), as_json, url)


@app.command()
def search(
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help=f"One of: {', '.join(STATES)}.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="NAME", help="The group that performs them.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 100,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """List tasks, in the order of their ids.

    \b
    Examples:
      understudy tasks search --state pending --group orders
      understudy tasks search --state halted --json
    """
    from understudy.cli.client import Client
    from understudy.cli.errors import UsageError
    from understudy.cli.json_data import task_json
    from understudy.cli.tables import print_json

    if state is not None and state not in STATES:
        raise UsageError(f"--state {state!r}: it is one of {', '.join(STATES)}")
    with Client(url) as client:
        found = list(client.tasks(state=state, group=group, limit=limit + 1))
    if as_json:
        print_json([task_json(task) for task in found[:limit]])
    else:
        print(_table(found[:limit]))
        if len(found) > limit:
            print(f"There are more than {limit:,}: add --limit, --state or --group")
    return 0


def _one(command: object, as_json: bool, url: str | None) -> int:
    from understudy.cli.client import Client
    from understudy.cli.json_data import task_json
    from understudy.cli.tables import print_json

    with Client(url) as client:
        task = client.command(command).task
    assert task is not None
    if as_json:
        print_json(task_json(task))
    else:
        print(_table([task]))
    return 0


def _table(found: list[TaskRecord]) -> str:
    from understudy.cli.json_data import node_of, trouble
    from understudy.cli.tables import table

    now_ms = time.time_ns() // 1_000_000
    rows = [
        (task.id, task.state, task.version, task.target, node_of(task), _due(task, now_ms))
        for task in found
    ]
    lines = [table(("ID", "STATE", "VERSION", "TARGET", "NODE", "NEXT"), rows)]
    lines += [f"{task.id}: {said}" for task in found if (said := trouble(task))]
    return "\n".join(lines)


def _due(task: TaskRecord, now_ms: int) -> str | None:
    """What the task's timer is for."""
    from understudy.cli.tables import duration

    if task.expires_at is not None:
        return f"lease ends in {duration(task.expires_at - now_ms)}"
    if task.retry_at is not None and task.retry_at > now_ms:
        return f"offered in {duration(task.retry_at - now_ms)}"
    return None if task.retry_at is None else "due"
