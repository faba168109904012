"""``understudy tasks``: read, search, halt, continue and retry tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli import completion
from understudy.cli.options import LIMIT, AsJson, Limit, Url
from understudy.cli.printing import err, out, out_painted, printable_line
from understudy.cli.states import choices
from understudy_store.records import TASK_WORDS

if TYPE_CHECKING:
    from understudy_store.commands import StoreCommand
    from understudy_store.records import TaskRecord

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

Id = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The task's id, which is that of its promise.",
        autocompletion=completion.promise_ids,
    ),
]

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="The tasks' ids.")]


@app.callback()
def tasks() -> None:
    """Read, search, halt, continue and retry tasks.

    \b
    Examples:
      understudy tasks search --state running --group orders
      understudy tasks halt order-7
    """


@app.command()
def get(id: Id, as_json: AsJson = False, url: Url = None) -> int:
    """Show one task.

    Below it is shown how far its function is, if that has said so.

    --json prints one object, with the number of deaths and their cause. Its expires_at is when the
    lease would have ended without the heartbeats of the node since, which are not stored.

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
def continue_(ids: Ids, as_json: AsJson = False, url: Url = None) -> int:
    """Let halted or parked tasks run again.

    A task is parked, that is, halted with a cause, if its node cannot go on with it (the code has
    changed, or the function is unknown), or if its holders vanish several times in a row (the
    broker's setting deaths_max). It goes on where it was.

    --json prints one object, as get does; for several tasks a list of them.

    \b
    Examples:
      understudy tasks continue order-7
      understudy tasks search --state halted --json | jq -r '.[].id' \\
        | xargs understudy tasks continue

    Exits with 1 if one of the tasks does not exist or is not halted; the others go on.
    """
    from understudy_store.commands import TaskContinue

    return _show_replies("continue", [TaskContinue(id) for id in ids], as_json, url)


@app.command()
def retry(ids: Ids, as_json: AsJson = False, url: Url = None) -> int:
    """Have calls tried again at once whose last attempt has failed, instead of when that is due.

    The attempts that a call has left stay as many as they are.

    --json prints one object, as get does; for several tasks a list of them.

    \b
    Example:
      understudy tasks retry order-7

    Exits with 1 if one of the tasks does not exist, or does not wait for its next attempt; the
    others go on.
    """
    from understudy_store.commands import TaskRetry

    return _show_replies("retry", [TaskRetry(id) for id in ids], as_json, url)


def _show_replies(
    name: str, commands: Sequence[StoreCommand], as_json: bool, url: str | None
) -> int:
    """Send commands for tasks, and show what these are then."""
    from understudy.cli.client import Client
    from understudy.cli.errors import explain
    from understudy.cli.json_data import print_json
    from understudy.views.records import task_json
    from understudy_actors.errors import CommandError

    if len(commands) == 1:
        return _show_reply(commands[0], as_json, url)
    with Client(url) as client:
        replies = list(client.commands(commands))
    found = [reply.task for reply in replies if not isinstance(reply, CommandError) and reply.task]
    if as_json:
        print_json([task_json(task) for task in found])
    elif found:
        out_painted(_table(found))
    refused = [reply for reply in replies if isinstance(reply, CommandError)]
    for error in refused:
        err(f"understudy tasks {name}: {explain(error)[0]}")
    return 1 if refused else 0


@app.command()
def search(
    state: Annotated[
        str | None,
        typer.Option(
            metavar="STATE",
            help=f"One of {choices(TASK_WORDS)}. [default: any]",
            autocompletion=completion.task_states,
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The group that the tasks are for.",
            autocompletion=completion.groups,
        ),
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
      understudy tasks search --state queued --group orders
      understudy tasks search --state halted --json
    """
    from understudy.cli.client import Client
    from understudy.cli.json_data import print_json
    from understudy.cli.states import stored
    from understudy.views.records import task_json

    state = stored(state, TASK_WORDS)
    with Client(url) as client:
        found = list(client.tasks(state=state, group=group, limit=limit + 1))
    if as_json:
        print_json([task_json(task) for task in found[:limit]])
    else:
        out_painted(_table(found[:limit]))
        if len(found) > limit:
            out(f"There are more than {limit:,}: narrow the search, or raise --limit")
    return 0


def _show_reply(command: StoreCommand, as_json: bool, url: str | None) -> int:
    from understudy.cli.client import Client
    from understudy.cli.json_data import print_json
    from understudy.views.progress import progress_json, progress_of_task, progress_text
    from understudy.views.records import task_json

    with Client(url) as client:
        reply = client.command(command)
    task, progress = reply.task, progress_of_task(reply)
    assert task is not None
    if as_json:
        shown = {} if progress is None else {"progress": progress_json(progress)}
        print_json(task_json(task) | shown)
    else:
        out_painted(_table([task]))
        if progress is not None:
            out(printable_line(f"{task.id}: {progress_text(progress)}"))
    return 0


def _table(found: list[TaskRecord]) -> str:
    from understudy.cli.times import now_ms
    from understudy.obstacles import task_trouble
    from understudy.views.records import node_of

    now = now_ms()
    rows = [
        (
            task.id,
            TASK_WORDS[task.state],
            task.version,
            task.target,
            node_of(task),
            _next_event(task, now),
        )
        for task in found
    ]
    lines = [_aligned(rows)]
    lines += [
        printable_line(f"{task.id}: {trouble}") for task in found if (trouble := task_trouble(task))
    ]
    return "\n".join(lines)


def _aligned(rows: Sequence[tuple[object, ...]]) -> str:
    from understudy.cli.tables import table, terminal_width

    headers = ("ID", "STATE", "VERSION", "TARGET", "NODE", "NEXT")
    return table(headers, rows, width=terminal_width(), elastic=("NEXT", "TARGET"))


def _next_event(task: TaskRecord, now_ms: int) -> str | None:
    """Return what happens to the task next, and when."""
    from understudy.cli.times import duration

    if task.pid is not None:
        # When the lease ends is not known here: the broker prolongs it with each heartbeat of the
        # node, and stores none of these.
        return "held while its node sends heartbeats"
    if task.retry_at is not None and task.retry_at > now_ms:
        return f"offered in {duration(task.retry_at - now_ms)}"
    return None if task.retry_at is None else "due"
