"""``understudy schedules``: create, read, change, pause, trigger and delete schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from understudy.cli import completion
from understudy.cli.options import Arguments, AsJson, Function, NamedArguments, Tags, Target, Url
from understudy.cli.printing import out
from understudy.schedules import DEFAULT_PROMISE_ID

if TYPE_CHECKING:
    from datetime import datetime

    from understudy_actors.errors import CommandError
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
        help='When to call: "0 3 * * *" (minute hour day month weekday), or six fields '
        "beginning with seconds. In UTC, or in the time zone of --zone.",
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

Zone = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The time zone: Europe/Vienna. [default: UTC]"),
]
Overlap = Annotated[
    str | None,
    typer.Option(
        metavar="RULE",
        help="If the last call has not ended: allow another one, skip it, buffer_one, or "
        "cancel_other. [default: allow]",
    ),
]
CatchUp = Annotated[
    str | None,
    typer.Option(
        metavar="RULE",
        help="Of what was missed while no broker ran, make: all, last, none, or what is at most a "
        "TIME late (2h). [default: all]",
    ),
]
Jitter = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Put each call off by up to this: 30s. [default: 0]"),
]

_CRON_ADVICE: Final = (
    'It has five fields, minute hour day month weekday, as "0 3 * * *" (each night at three); '
    "or six, the first of which is seconds"
)
_REPLACE: Final = "options(replace=True)"


@app.callback()
def schedules() -> None:
    """Create, read, change, pause, trigger and delete schedules: calls by the clock.

    \b
    Examples:
      understudy schedules create nightly "0 3 * * *" report --target reports
      understudy schedules next nightly
      understudy schedules pause nightly --reason "the warehouse moves"
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
    zone: Zone = None,
    overlap: Overlap = None,
    catch_up: CatchUp = None,
    jitter: Jitter = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Change a schedule of this id that exists.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Call a function whenever a cron expression says so.

    If a schedule of this id exists just as it is asked for, it is shown. If it is another one, this
    exits with 3 and says in what, unless --replace is given.

    --json prints one object.

    \b
    Example:
      understudy schedules create nightly "0 3 * * *" report --target reports --arg daily
    """
    from understudy.cli.client import Client
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
        rules = _rules(zone, overlap, catch_up, jitter)
        schedules = runtime.schedules.options(promise_id=promise_id, replace=replace, **rules)
        try:
            schedules.create(id, cron, function, *args, **kwargs)
        except CommandError as error:
            raise _explained(error) from None
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
def update(
    id: Id,
    cron: Annotated[
        str | None, typer.Option(metavar="CRON", help="When to call, as in create.")
    ] = None,
    zone: Zone = None,
    overlap: Overlap = None,
    catch_up: CatchUp = None,
    jitter: Jitter = None,
    timeout: Timeout = None,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Change when a schedule is due, and its rules. What is not given stays.

    What it calls is changed by: understudy schedules create --replace.

    --json prints one object.

    \b
    Example:
      understudy schedules update nightly --cron "30 3 * * *" --zone Europe/Vienna
    """
    from understudy.cli.client import Client
    from understudy.cli.times import parse_seconds
    from understudy_actors.errors import CommandError

    rules = _rules(zone, overlap, catch_up, jitter)
    with Client(url) as client:
        try:
            client.runtime.schedules.update(
                id, cron=cron, timeout=parse_seconds(timeout, "--timeout"), **rules
            )
        except CommandError as error:
            raise _explained(error) from None
        schedule = client.schedule(id)
    _show_one(schedule, as_json)
    return 0


@app.command()
def pause(
    id: Id,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for others to read.")] = "",
    until: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When it goes on by itself: 2h from now, or 2026-12-24T08:00+01:00. "
            "[default: never]",
        ),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Let a schedule make no more calls. Those that it has made continue.

    Calls that would be due meanwhile are left out.

    --json prints one object.

    \b
    Example:
      understudy schedules pause nightly --reason "the warehouse moves" --until 2d
    """
    from understudy.cli.client import Client

    until_at = None if until is None else _until(until)
    with Client(url) as client:
        client.runtime.schedules.pause(id, reason, until=until_at)
        schedule = client.schedule(id)
    _show_one(schedule, as_json)
    return 0


@app.command()
def resume(id: Id, as_json: AsJson = False, url: Url = None) -> int:
    """Let a schedule that is paused go on.

    --json prints one object.

    \b
    Example:
      understudy schedules resume nightly
    """
    from understudy.cli.client import Client

    with Client(url) as client:
        client.runtime.schedules.resume(id)
        schedule = client.schedule(id)
    _show_one(schedule, as_json)
    return 0


@app.command()
def trigger(id: Id, as_json: AsJson = False, url: Url = None) -> int:
    """Make a call of a schedule now, also if it is paused, and print the call's id.

    --json prints an object with the id of the call.

    \b
    Example:
      understudy schedules trigger nightly

    Exits with 3 if its rule about overlaps does not let it make a call now.
    """
    from understudy.cli.client import Client
    from understudy.cli.json_data import print_json

    with Client(url) as client:
        call_id = client.runtime.schedules.trigger(id)
    if as_json:
        print_json({"id": call_id})
    else:
        out(call_id)
    return 0


@app.command(name="next")
def next_(
    id: Id,
    count: Annotated[
        int, typer.Option(metavar="N", min=1, max=100, help="How many times to show.")
    ] = 10,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Show when a schedule is due next; while it is paused, when it would be.

    --json prints a list of epoch milliseconds.

    \b
    Example:
      understudy schedules next nightly --count 3
    """
    from understudy.cli.client import Client
    from understudy.cli.json_data import print_json
    from understudy.cli.tables import table
    from understudy.cli.times import moment
    from understudy_store.zones import system_zone

    with Client(url) as client:
        times = client.runtime.schedules.next(id, count)
        zone_name = client.schedule(id).plan.zone
    if as_json:
        print_json([round(at.timestamp() * 1000) for at in times])
        return 0
    zone = None if zone_name == "UTC" else system_zone(zone_name)
    rows = [
        (
            moment(round(at.timestamp() * 1000)),
            *(() if zone is None else (f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S %z}",)),
        )
        for at in times
    ]
    out(table(("UTC",) if zone is None else ("UTC", zone_name), rows))
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
            schedule.plan.zone,
            schedule.promise_param.headers.get(HEADER_FUNCTION),
            schedule.promise_tags.get(TAG_TARGET),
            _next_text(schedule),
            moment(schedule.last_run_at),
        )
        for schedule in found
    ]
    return table(("ID", "CRON", "ZONE", "FUNCTION", "TARGET", "NEXT (UTC)", "LAST (UTC)"), rows)


def _next_text(schedule: ScheduleRecord) -> str | None:
    from understudy.cli.times import moment

    course = schedule.course
    if course.paused_at is None:
        return moment(schedule.next_run_at)
    until = "" if course.paused_until is None else f" until {moment(course.paused_until)}"
    reason = f": {course.pause_reason}" if course.pause_reason else ""
    return f"paused{until}{reason}"


def _rules(
    zone: str | None, overlap: str | None, catch_up: str | None, jitter: str | None
) -> dict[str, Any]:
    """Return the rules that were given, as the runtime takes them."""
    from understudy.cli.times import parse_seconds
    from understudy_store.records import CATCH_UPS

    is_time = catch_up is not None and catch_up not in CATCH_UPS
    return {
        "zone": zone,
        "overlap": overlap,
        "catch_up": parse_seconds(catch_up, "--catch-up") if is_time else catch_up,
        "jitter": parse_seconds(jitter, "--jitter"),
    }


def _until(text: str) -> datetime:
    """Read a time from now, or a moment."""
    from datetime import UTC, datetime, timedelta

    from understudy.cli.errors import UsageError
    from understudy.cli.times import now_ms, parse_seconds

    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            seconds = parse_seconds(text, "--until")
        except UsageError:
            raise UsageError(
                f"--until {text!r} is no time: write one from now (2h, 7d), or a moment "
                "(2026-12-24T08:00+01:00)"
            ) from None
        return datetime.fromtimestamp(now_ms() / 1000, UTC) + timedelta(seconds=seconds or 0)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _explained(error: CommandError) -> Exception:
    """Return an error of the broker as one for people at a command line."""
    from understudy.cli.errors import UsageError
    from understudy_actors.errors import CommandError

    if error.status == 400 and error.error.startswith("cron line"):
        return UsageError(f"{error.error}. {_CRON_ADVICE}")
    if error.status == 400 and error.error.startswith("time zone"):
        return UsageError(error.error)
    if error.status == 409:
        return CommandError(409, error.error.replace(_REPLACE, "--replace"))
    return error
