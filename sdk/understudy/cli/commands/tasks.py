"""``understudy tasks``: read, search, halt and continue tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.options import LIMIT, AsJson, Limit, Url
from understudy_store.records import TASK_STATES

if TYPE_CHECKING:
    from understudy_store.commands import StoreCommand
    from understudy_store.records import TaskRecord

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

Id = Annotated[
    str, typer.Argument(metavar="ID", help="The task's id, which is that of its promise.")
]


@app.callback()
def tasks() -> None:
    """Read, search, halt and continue tasks.

    \b
    Examples:
      understudy tasks search --state acquired --group orders
      understudy tasks halt order-7
    """


@app.command()
def get(id: Id, as_json: AsJson = False, url: Url = None) -> int:
    """Show one task.

    --json prints one object, with the number of deaths and their cause.

    \b
    Example:
      understudy tasks get order-7

    Exits with 1 if the task does not exist.
    """
    from understudy_store.commands import TaskGet

    return _show_reply(TaskGet(id), as_json, url)


@app.command()
def halt(id: Id, as_json: AsJson = False, url: Url = None) -> int:
    """Halt a task: no node gets it until it is continued.

    A node that holds the task loses it. The promise stays pending, and its deadline still counts.

    \b
    Example:
      understudy tasks halt order-7
    """
    from understudy_store.commands import TaskHalt

    return _show_reply(TaskHalt(id), as_json, url)


@app.command("continue")
def continue_(id: Id, as_json: AsJson = False, url: Url = None) -> int:
    """Let a halted or parked task run again.

    The broker parks a task, that is, halts it with a cause, if its holders vanish several times in
    a row (its setting deaths_max). Continuing the task resets that number to zero.

    \b
    Example:
      understudy tasks continue order-7
    """
    from understudy_store.commands import TaskContinue

    return _show_reply(TaskContinue(id), as_json, url)


@app.command()
def search(
    state: Annotated[
        str | None,
        typer.Option(metavar="STATE", help=f"One of {', '.join(TASK_STATES)}. [default: any]"),
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="NAME", help="The group that the tasks are for.")
    ] = None,
    limit: Limit = LIMIT,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """List tasks, in the order of their ids.

    Why a task was parked is shown below the table.

    --json prints a list of objects, as those of get.

    \b
    Examples:
      understudy tasks search --state pending --group orders
      understudy tasks search --state halted --json
    """
    from understudy.cli.client import Client
    from understudy.cli.json_data import print_json
    from understudy.cli.options import check_state
    from understudy.cli.records import task_json

    check_state(state, TASK_STATES)
    with Client(url) as client:
        found = list(client.tasks(state=state, group=group, limit=limit + 1))
    if as_json:
        print_json([task_json(task) for task in found[:limit]])
    else:
        print(_table(found[:limit]))
        if len(found) > limit:
            print(f"There are more than {limit:,}: narrow the search, or raise --limit")
    return 0


def _show_reply(command: StoreCommand, as_json: bool, url: str | None) -> int:
    from understudy.cli.client import Client
    from understudy.cli.json_data import print_json
    from understudy.cli.records import task_json

    with Client(url) as client:
        task = client.command(command).task
    assert task is not None
    if as_json:
        print_json(task_json(task))
    else:
        print(_table([task]))
    return 0


def _table(found: list[TaskRecord]) -> str:
    from understudy.cli.records import node_of, task_trouble
    from understudy.cli.tables import table
    from understudy.cli.times import now_ms

    now = now_ms()
    rows = [
        (task.id, task.state, task.version, task.target, node_of(task), _next_event(task, now))
        for task in found
    ]
    lines = [table(("ID", "STATE", "VERSION", "TARGET", "NODE", "NEXT"), rows)]
    lines += [f"{task.id}: {trouble}" for task in found if (trouble := task_trouble(task))]
    return "\n".join(lines)


def _next_event(task: TaskRecord, now_ms: int) -> str | None:
    """Return what happens to the task next, and when."""
    from understudy.cli.times import duration

    if task.expires_at is not None:
        return f"lease ends in {duration(task.expires_at - now_ms)}"
    if task.retry_at is not None and task.retry_at > now_ms:
        return f"offered in {duration(task.retry_at - now_ms)}"
    return None if task.retry_at is None else "due"
