"""``understudy tasks``: read, search, halt, continue and retry tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli import completion
from understudy.cli.bulk import Manner, act, require_condition
from understudy.cli.bulk_options import All, Cause, DryRun, Yes
from understudy.cli.errors import UsageError
from understudy.cli.options import LIMIT, AsJson, Limit, Url
from understudy.cli.printing import err, out, out_painted, printable_line
from understudy.cli.states import choices, stored
from understudy_store.records import TASK_WORDS

if TYPE_CHECKING:
    from understudy.repairs.plan import Action
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

Ids = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ID]...", help="The tasks' ids.", autocompletion=completion.promise_ids
    ),
]
GroupName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Only tasks for this group.",
        autocompletion=completion.groups,
    ),
]
ErrorClass = Annotated[
    str | None,
    typer.Option(
        metavar="CLASS",
        help="Only where this exception is the reason, with its module or without.",
    ),
]
Prefix = Annotated[str, typer.Option(metavar="TEXT", help="The beginning of the id.")]


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
def halt(
    ids: Ids = None,
    state: Annotated[
        str | None,
        typer.Option(
            metavar="STATE",
            help="Only tasks in this state: queued, running or waiting.",
            autocompletion=completion.task_states,
        ),
    ] = None,
    group: GroupName = None,
    cause: Cause = None,
    error: ErrorClass = None,
    prefix: Prefix = "",
    all_: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Halt tasks: no node gets them until they are continued.

    A node that holds such a task loses it. The promise stays pending, and its deadline still
    counts. Many are halted by conditions, in the place of ids: first it says which, and asks.

    \b
    Examples:
      understudy tasks halt order-7
      understudy tasks halt --group bank --dry-run
    """
    from understudy_store.commands import TaskHalt

    chosen = _Chosen("halt", group, cause, error, prefix, state, is_all=all_)
    if chosen.is_given(ids):
        return chosen.act(url, Manner(yes, dry_run, as_json))
    return _show_replies("halt", [TaskHalt(id) for id in ids or ()], as_json, url)


@app.command("continue")
def continue_(
    ids: Ids = None,
    group: GroupName = None,
    cause: Cause = None,
    error: ErrorClass = None,
    prefix: Prefix = "",
    all_: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Let halted or parked tasks run again.

    A task is parked, that is, halted with a cause, if its node cannot go on with it (the code has
    changed, or the function is unknown), or if its holders vanish several times in a row (the
    broker's setting deaths_max). It goes on where it was. Many are continued by conditions, in the
    place of ids: first it says which, and asks.

    --json prints one object, as get does; for several tasks a list of them; with conditions, what
    understudy calls continue prints.

    \b
    Examples:
      understudy tasks continue order-7
      understudy tasks continue --group bank --cause 'its holder vanished'
      understudy tasks continue --error NonDeterminismError --yes

    Exits with 1 if one of the tasks does not exist or is not halted; the others go on.
    """
    from understudy_store.commands import TaskContinue

    chosen = _Chosen("continue", group, cause, error, prefix, is_all=all_)
    if chosen.is_given(ids):
        return chosen.act(url, Manner(yes, dry_run, as_json))
    return _show_replies("continue", [TaskContinue(id) for id in ids or ()], as_json, url)


@app.command()
def retry(
    ids: Ids = None,
    group: GroupName = None,
    cause: Cause = None,
    error: ErrorClass = None,
    prefix: Prefix = "",
    all_: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Have calls tried again at once whose last attempt has failed, instead of when that is due.

    The attempts that a call has left stay as many as they are. Many are retried by conditions, in
    the place of ids: first it says which, and asks.

    --json prints one object, as get does; for several tasks a list of them; with conditions, what
    understudy calls retry prints.

    \b
    Examples:
      understudy tasks retry order-7
      understudy tasks retry --group bank --error ConnectionError

    Exits with 1 if one of the tasks does not exist, or does not wait for its next attempt; the
    others go on.
    """
    from understudy_store.commands import TaskRetry

    chosen = _Chosen("retry", group, cause, error, prefix, is_all=all_)
    if chosen.is_given(ids):
        return chosen.act(url, Manner(yes, dry_run, as_json))
    return _show_replies("retry", [TaskRetry(id) for id in ids or ()], as_json, url)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The conditions on tasks, for an action on many of them."""

    action: Action
    group: str | None
    cause: str | None
    error: str | None
    prefix: str
    state: str | None = None
    is_all: bool = field(default=False, kw_only=True)

    def is_given(self, ids: list[str] | None) -> bool:
        """Return whether conditions were given, not ids; refuse both, and neither."""
        texts = (self.group, self.cause, self.error, self.state, self.prefix or None)
        narrows = any(each is not None for each in texts)
        if ids and (narrows or self.is_all):
            raise UsageError("ids and conditions exclude each other")
        if not ids:
            where = f"understudy tasks {self.action}"
            require_condition(given=narrows, is_all=self.is_all, where=where)
        return not ids

    def act(self, url: str | None, manner: Manner) -> int:
        """Act on the tasks that meet them; return the exit code."""
        from understudy.repairs.selection import Causes, select_tasks

        states = () if (state := stored(self.state, TASK_WORDS)) is None else (state,)
        if not {"halted", "fulfilled"}.isdisjoint(states):
            raise UsageError(f"--state {self.state}: there is nothing to {self.action} then")
        selection = select_tasks(
            self.action,
            group=self.group,
            prefix=self.prefix,
            causes=Causes(self.cause, self.error),
            states=states,
        )
        return act(url, selection, manner)


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
