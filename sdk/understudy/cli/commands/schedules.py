"""``understudy schedules``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from understudy.cli.options import AsJson, Tags, Url

if TYPE_CHECKING:
    from understudy_store.records import ScheduleRecord

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="Of the schedule.")]


@app.callback()
def schedules() -> None:
    """Calls that the broker makes by the clock.

    \b
    Examples:
      understudy schedules create nightly "0 3 * * *" report --target reports
      understudy schedules search
    """


_CRON: Final = (
    'It has five fields, minute hour day month weekday, as "0 3 * * *" (each night at three, UTC); '
    "or six, which begin with seconds"
)


@app.command()
def create(
    id: Id,
    cron: Annotated[
        str,
        typer.Argument(metavar="CRON", help='In UTC: "0 3 * * *", or six fields from seconds on.'),
    ],
    function: Annotated[str, typer.Argument(metavar="FUNC", help="Name of the function.")],
    arg: Annotated[
        list[str] | None,
        typer.Option(metavar="X", help="An argument: JSON, else text; may be repeated."),
    ] = None,
    kwarg: Annotated[
        list[str] | None, typer.Option(metavar="NAME=X", help="One by name; may be repeated.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="GROUP", help="Who performs it; else UNDERSTUDY_GROUP, else default."),
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="Deadline of each call; else 30d.")
    ] = None,
    promise_id: Annotated[
        str, typer.Option(metavar="TEXT", help="Id of each call.")
    ] = "{id}.{timestamp}",
    tag: Tags = None,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Call a function at each occurrence; the same id again shows the schedule that there is.

    \b
    Example:
      understudy schedules create nightly "0 3 * * *" report --target reports --arg daily
    """
    from understudy.cli.client import Client
    from understudy.cli.commands.invoke import json_or_text
    from understudy.cli.errors import UsageError
    from understudy.cli.options import pairs, seconds
    from understudy.schedules import record_of
    from understudy_actors.errors import CommandError

    args = [json_or_text(text) for text in arg or ()]
    kwargs = {name: json_or_text(text) for name, text in pairs(kwarg, "--kwarg").items()}
    with Client(url) as client:
        runtime = client.runtime.options(
            target=target, timeout=seconds(timeout, "--timeout"), tags=pairs(tag, "--tag")
        )
        try:
            schedules = runtime.schedules.options(promise_id=promise_id)
            made = schedules.create(id, cron, function, *args, **kwargs)
        except CommandError as error:
            if error.status == 400 and error.error.startswith("cron line"):
                raise UsageError(f"{error.error}. {_CRON}") from None
            raise
    return _show([record_of(made)], as_json, one=True)


@app.command()
def get(id: Id, as_json: AsJson = False, url: Url = None) -> int:
    """Show one schedule.

    \b
    Example:
      understudy schedules get nightly
    """
    from understudy.cli.client import Client
    from understudy.schedules import record_of

    with Client(url) as client:
        return _show([record_of(client.runtime.schedules.get(id))], as_json, one=True)


@app.command()
def delete(id: Id, url: Url = None) -> int:
    """No more occurrences; calls already made go on.

    \b
    Example:
      understudy schedules delete nightly
    """
    from understudy.cli.client import Client

    with Client(url) as client:
        client.runtime.schedules.delete(id)
    print(f"{id}: deleted")
    return 0


@app.command()
def search(
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="Of the id.")] = "",
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """List schedules, in the order of their ids.

    \b
    Example:
      understudy schedules search --prefix night
    """
    from understudy.cli.client import Client
    from understudy.schedules import record_of

    with Client(url) as client:
        found = client.runtime.schedules.search(prefix=prefix)
        return _show([record_of(schedule) for schedule in found], as_json)


def _show(found: list[ScheduleRecord], as_json: bool, *, one: bool = False) -> int:
    from understudy.cli.json_data import schedule_json
    from understudy.cli.tables import moment, print_json, table
    from understudy_store.records import HEADER_FUNCTION, TAG_TARGET

    if as_json:
        shown = [schedule_json(schedule) for schedule in found]
        print_json(shown[0] if one else shown)
        return 0
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
    print(table(("ID", "CRON", "FUNCTION", "TARGET", "NEXT (UTC)", "LAST (UTC)"), rows))
    return 0
