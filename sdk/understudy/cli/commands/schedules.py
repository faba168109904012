"""``understudy schedules``: create, read and delete schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from understudy.cli import completion
from understudy.cli.options import Arguments, AsJson, Function, NamedArguments, Tags, Target, Url
from understudy.cli.printing import out
from understudy.schedules import DEFAULT_PROMISE_ID

if TYPE_CHECKING:
    from understudy_store.records import ScheduleRecord

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

Id = Annotated[
    str,
    typer.Argument(metavar="ID", help="The schedule's id.", autocompletion=completion.schedule_ids),
]
NewId = Annotated[str, typer.Argument(metavar="ID", help="The schedule's id.")]
Cron = Annotated[
    str,
    typer.Argument(
        metavar="CRON",
        help='When to call, in UTC: "0 3 * * *" (minute hour day month weekday), or six '
        "fields beginning with seconds.",
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="The deadline of each call: 90 (seconds), 500ms, 10m, 2h, 7d. [default: 30d]",
    ),
]
PromiseId = Annotated[
    str,
    typer.Option(
        metavar="TEXT",
        help="The id of each call. {timestamp} is when it was due, in epoch milliseconds.",
    ),
]

_CRON_ADVICE: Final = (
    'It has five fields, minute hour day month weekday, as "0 3 * * *" (each night at three, UTC); '
    "or six, the first of which is seconds"
)


@app.callback()
def schedules() -> None:
    """Create, read and delete schedules: calls by the clock.

    \b
    Examples:
      understudy schedules create nightly "0 3 * * *" report --target reports
      understudy schedules search
    """


@app.command()
def create(
    id: NewId,
    cron: Cron,
    function: Function,
    arg: Arguments = None,
    kwarg: NamedArguments = None,
    target: Target = None,
    timeout: Timeout = None,
    promise_id: PromiseId = DEFAULT_PROMISE_ID,
    tag: Tags = None,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Call a function whenever a cron expression says so.

    If a schedule of this id exists, it is shown and left as it is.

    --json prints one object.

    \b
    Example:
      understudy schedules create nightly "0 3 * * *" report --target reports --arg daily
    """
    from understudy.cli.client import Client
    from understudy.cli.errors import UsageError
    from understudy.cli.options import parse_arguments, parse_pairs
    from understudy.cli.times import parse_seconds
    from understudy_actors.errors import CommandError

    args, kwargs = parse_arguments(arg, kwarg)
    with Client(url) as client:
        runtime = client.runtime.options(
            target=target,
            timeout=parse_seconds(timeout, "--timeout"),
            tags=parse_pairs(tag, "--tag"),
        )
        try:
            schedules = runtime.schedules.options(promise_id=promise_id)
            schedules.create(id, cron, function, *args, **kwargs)
        except CommandError as error:
            if error.status == 400 and error.error.startswith("cron line"):
                raise UsageError(f"{error.error}. {_CRON_ADVICE}") from None
            raise
        schedule = client.schedule(id)
    _show_one(schedule, as_json)
    return 0


@app.command()
def get(id: Id, as_json: AsJson = False, url: Url = None) -> int:
    """Show one schedule.

    --json prints one object.

    \b
    Example:
      understudy schedules get nightly

    Exits with 1 if the schedule does not exist.
    """
    from understudy.cli.client import Client

    with Client(url) as client:
        schedule = client.schedule(id)
    _show_one(schedule, as_json)
    return 0


@app.command()
def delete(id: Id, as_json: AsJson = False, url: Url = None) -> int:
    """Delete a schedule. Calls that it has made continue.

    --json prints an object with the id, and with "deleted": true.

    \b
    Example:
      understudy schedules delete nightly
    """
    from understudy.cli.client import Client
    from understudy.cli.json_data import print_json

    with Client(url) as client:
        client.runtime.schedules.delete(id)
    if as_json:
        print_json({"id": id, "deleted": True})
    else:
        out(f"{id}: deleted")
    return 0


@app.command()
def search(
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="The beginning of the id.")] = "",
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """List schedules, in the order of their ids.

    --json prints a list of objects.

    \b
    Example:
      understudy schedules search --prefix night
    """
    from understudy.cli.client import Client
    from understudy.cli.json_data import print_json
    from understudy.views.records import schedule_json

    with Client(url) as client:
        found = list(client.schedules(prefix))
    if as_json:
        print_json([schedule_json(schedule) for schedule in found])
    else:
        out(_table(found))
    return 0


def _show_one(schedule: ScheduleRecord, as_json: bool) -> None:
    from understudy.cli.json_data import print_json
    from understudy.views.records import schedule_json

    if as_json:
        print_json(schedule_json(schedule))
    else:
        out(_table([schedule]))


def _table(found: list[ScheduleRecord]) -> str:
    from understudy.cli.tables import table
    from understudy.cli.times import moment
    from understudy_store.records import HEADER_FUNCTION, TAG_TARGET

    rows = [
        (
            schedule.id,
            schedule.cron,
            schedule.promise_param.headers.get(HEADER_FUNCTION),
            schedule.promise_tags.get(TAG_TARGET),
            moment(schedule.next_run_at),
            moment(schedule.last_run_at),
        )
        for schedule in found
    ]
    return table(("ID", "CRON", "FUNCTION", "TARGET", "NEXT (UTC)", "LAST (UTC)"), rows)
