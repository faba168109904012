"""``understudy promises``: read, search, create and settle promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli import completion
from understudy.cli.bulk import Manner, act, require_condition
from understudy.cli.bulk_options import All, DryRun, Yes
from understudy.cli.errors import UsageError
from understudy.cli.options import LIMIT, AsJson, Limit, Tags, Url
from understudy.cli.printing import err, out, out_painted
from understudy.cli.states import choices
from understudy_store.records import PROMISE_WORDS, TASK_WORDS

if TYPE_CHECKING:
    from understudy_store.records import PromiseRecord, TaskRecord

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

Id = Annotated[
    str,
    typer.Argument(metavar="ID", help="The promise's id.", autocompletion=completion.promise_ids),
]


@app.callback()
def promises() -> None:
    """Read, search, create and settle promises.

    \b
    Examples:
      understudy promises search --state pending --prefix order-
      understudy promises resolve order-7.approval --value '{"by": "ann"}'
      understudy promises get order-7 --json
    """


@app.command()
def get(id: Id, as_json: AsJson = False, url: Url = None) -> int:
    """Show one promise.

    Plain data is decoded; a pickle is never loaded, only its size is shown. A promise that failed
    is shown with its traceback, and a pending call with its task.

    --json prints one object, with the keys error and task if they apply.

    \b
    Example:
      understudy promises get order-7

    Exits with 1 if the promise does not exist.
    """
    from understudy.cli.client import Client
    from understudy_store.commands import TaskGet
    from understudy_store.records import TAG_TARGET

    with Client(url) as client:
        record = client.promise(id)
        is_pending_call = not record.settled and TAG_TARGET in record.tags
        task = client.command(TaskGet(id)).task if is_pending_call else None
    _show(record, as_json, task)
    return 0


@app.command()
def create(
    id: Id,
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="The deadline, from now: 90 (seconds), 500ms, 10m, 7d. [default: 30d]",
        ),
    ] = None,
    value: Annotated[
        str | None,
        typer.Option(
            metavar="X",
            help="Data for the person or program that settles the promise: JSON, or text.",
        ),
    ] = None,
    tag: Tags = None,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Create a promise that is settled from outside.

    If a promise of this id exists, it is shown and left as it is.

    --json prints one object, as get does.

    \b
    Example:
      understudy promises create approval-7 --timeout 7d --value '{"amount": 120}'
    """
    from understudy.cli.client import Client
    from understudy.cli.options import parse_pairs, parse_value
    from understudy.cli.times import parse_seconds

    with Client(url) as client:
        client.runtime.promises.create(
            id,
            timeout=parse_seconds(timeout, "--timeout"),
            tags=parse_pairs(tag, "--tag"),
            value=None if value is None else parse_value(value),
        )
        record = client.promise(id)
    _show(record, as_json)
    return 0


@app.command()
def resolve(
    id: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", help="The promise's id.", autocompletion=completion.promise_ids
        ),
    ] = None,
    value: Annotated[
        str | None,
        typer.Option(metavar="X", help="The value: JSON, or text. [default: null]"),
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="The beginning of the ids.")] = "",
    origin: Annotated[
        str | None, typer.Option(metavar="ID", help="Only the call graph with this root.")
    ] = None,
    tag: Tags = None,
    all_: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Settle a promise with a value, or all that wait for somebody outside and meet conditions.

    A promise that is already settled never changes. --json prints one object, as get does.

    Without an id, but with --prefix, --tag, --origin or --all, those promises are resolved that
    wait for somebody outside, no calls, and all with the same value. First it says how many, and
    asks. Ctrl-C stops it; the same command again goes on. --json prints what understudy calls
    resolve prints.

    \b
    Examples:
      understudy promises resolve approval-7 --value true
      understudy promises resolve --prefix approval- --tag day=monday --value true --dry-run

    Exits with 1 if the promise was already settled in another way.
    """
    from understudy.cli.client import Client
    from understudy.cli.options import parse_pairs, parse_value
    from understudy.repairs.selection import select_promises
    from understudy.views.json_data import decoded
    from understudy_store.records import RESOLVED

    narrows = bool(prefix or tag or origin is not None)
    if id is not None and (narrows or all_ or dry_run):
        raise UsageError("an id, and conditions or --dry-run, exclude each other")
    given: Any = None if value is None else parse_value(value)
    if id is None:
        require_condition(given=narrows, is_all=all_, where="understudy promises resolve")
        tags = parse_pairs(tag, "--tag")
        selection = select_promises(prefix=prefix, tags=tags, origin=origin)
        return act(url, selection, Manner(yes, dry_run, as_json), given)
    with Client(url) as client:
        client.runtime.promises.resolve(id, given)
        record = client.promise(id)
    is_same = decoded(record.value.data) == given
    return _show_settled(record, RESOLVED, as_json, is_same=is_same)


@app.command()
def reject(
    id: Id,
    error: Annotated[
        str,
        typer.Option(metavar="TEXT", help="The message of the exception that waiters will get."),
    ] = "rejected",
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Settle a promise with a failure.

    A promise that is already settled never changes. --json prints one object, as get does.

    \b
    Example:
      understudy promises reject approval-7 --error "too expensive"

    Exits with 1 if the promise was already settled in another way.
    """
    from understudy.cli.client import Client
    from understudy_store.records import REJECTED

    with Client(url) as client:
        client.runtime.promises.reject(id, error)
        record = client.promise(id)
    return _show_settled(record, REJECTED, as_json)


@app.command()
def cancel(id: Id, as_json: AsJson = False, url: Url = None) -> int:
    """Cancel a promise and its call graph.

    All pending promises below it are canceled too. --json prints one object, as get does.

    \b
    Example:
      understudy promises cancel order-7

    Exits with 1 if the promise was already settled in another way.
    """
    from understudy.cli.client import Client
    from understudy_store.records import CANCELED

    with Client(url) as client:
        client.runtime.promises.cancel(id)
        record = client.promise(id)
    return _show_settled(record, CANCELED, as_json)


@app.command()
def search(
    state: Annotated[
        str | None,
        typer.Option(
            metavar="STATE",
            help=f"One of {choices(PROMISE_WORDS)}. [default: any]",
            autocompletion=completion.promise_states,
        ),
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="The beginning of the id.")] = "",
    origin: Annotated[
        str | None, typer.Option(metavar="ID", help="Only the call graph with this root.")
    ] = None,
    tag: Tags = None,
    limit: Limit = LIMIT,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """List promises, in the order of their ids.

    --json prints a list of objects, as those of get.

    \b
    Examples:
      understudy promises search --state pending
      understudy promises search --prefix order- --tag customer=ann --limit 1000 --json
    """
    from understudy.cli.client import Client
    from understudy.cli.json_data import print_json
    from understudy.cli.options import parse_pairs
    from understudy.cli.states import stored
    from understudy.views.records import promise_json

    state = stored(state, PROMISE_WORDS)
    with Client(url) as client:
        found = list(
            client.promises(
                state=state,
                tags=parse_pairs(tag, "--tag"),
                prefix=prefix,
                origin=origin,
                limit=limit + 1,
            )
        )
    if as_json:
        print_json([promise_json(record) for record in found[:limit]])
    else:
        out_painted(_table(found[:limit]))
        if len(found) > limit:
            out(f"There are more than {limit:,}: narrow the search, or raise --limit")
    return 0


@app.command()
def purge(
    before: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Only what ended before: so long ago (30d, 12h), or a moment (2026-01-31T12:00, "
            "in UTC).",
        ),
    ],
    function: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only calls of this function.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only calls that this group performs.")
    ] = None,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="Only what ended like this.")
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="The beginning of the id.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what would be deleted.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Delete calls and promises that have ended, with all that belongs to them.

    A call graph is deleted as a whole, once all of it has ended; what something pending still
    points to stays. The ids stay taken for as long as the broker's setting retention.idempotency
    says. Ctrl-C stops it between two slices; what is deleted by then stays deleted.

    \b
    Examples:
      understudy promises purge --before 30d --dry-run
      understudy promises purge --before 7d --function report --yes
    """
    from understudy.cli.errors import UsageError
    from understudy.cli.purging import purge_all
    from understudy.cli.times import parse_moment
    from understudy.states import CALL_STATES, call_states

    states = call_states([] if state is None else [state])
    if states is None or "pending" in states:
        raise UsageError(
            f"--state {state!r}: use one of {', '.join(w for w in CALL_STATES if w != 'pending')}"
        )
    ended_before = parse_moment(before, "--before")
    assert ended_before is not None, "it is required"
    if not (yes or dry_run):
        typer.confirm("Delete what ended before that, for good?", abort=True, err=True)
    from understudy_store.commands import PromisePurge

    command = PromisePurge(ended_before, function, group, states, prefix, dry_run)
    return purge_all(command, as_json=as_json, url=url)


def _show_settled(
    record: PromiseRecord, wanted: str, as_json: bool, *, is_same: bool = True
) -> int:
    """Show a promise that should be settled as `wanted`; return the exit code."""

    _show(record, as_json)
    if record.state == wanted and is_same:
        return 0
    how = PROMISE_WORDS[record.state]
    how = how if record.state != wanted else f"{how} with another value"
    err(f"understudy promises: {record.id} was already {how}, and does not change")
    return 1


def _show(record: PromiseRecord, as_json: bool, task: TaskRecord | None = None) -> None:
    from understudy.cli.json_data import print_json
    from understudy.views.records import failure_traceback, promise_json, task_json

    if as_json:
        shown = promise_json(record)
        if task is not None:
            shown["task"] = task_json(task)
        print_json(shown)
        return
    facts = _facts(record, task)
    width = max(map(len, facts))
    for name, fact in facts.items():
        if fact is not None:
            out(f"{name:<{width}}  " + fact.replace("\n", "\n" + " " * (width + 2)))
    if text := failure_traceback(record):
        out(f"\n{text}")


def _facts(record: PromiseRecord, task: TaskRecord | None) -> dict[str, str | None]:
    """Return the lines to show: name to text; None if there is nothing to say."""
    from understudy.cli.times import moment
    from understudy.obstacles import task_trouble
    from understudy.views.json_data import compact, decoded
    from understudy.views.records import failure_text
    from understudy_store.records import HEADER_FUNCTION, RESOLVED

    return {
        "id": record.id,
        "state": PROMISE_WORDS[record.state],
        "task": None if task is None else TASK_WORDS[task.state],
        "trouble": task_trouble(task) or None,
        "function": record.param.headers.get(HEADER_FUNCTION),
        "param": compact(decoded(record.param.data), None) if record.param.data else None,
        "value": compact(decoded(record.value.data), None) if record.state == RESOLVED else None,
        "failure": failure_text(record) or None,
        "created": moment(record.created_at),
        "deadline": moment(record.timeout_at),
        "settled": moment(record.settled_at),
        **{f"tag {name}": text for name, text in sorted(record.tags.items())},
    }


def _table(records: list[PromiseRecord]) -> str:
    from understudy.cli.tables import table, terminal_width
    from understudy.cli.times import duration, moment, now_ms
    from understudy.views.json_data import compact, decoded
    from understudy.views.records import failure_reason
    from understudy_store.records import HEADER_FUNCTION, RESOLVED

    now = now_ms()
    rows = []
    for record in records:
        end = now if record.settled_at is None else record.settled_at
        result = compact(decoded(record.value.data)) if record.state == RESOLVED else ""
        rows.append(
            (
                record.id,
                PROMISE_WORDS[record.state],
                record.param.headers.get(HEADER_FUNCTION),
                moment(record.created_at),
                duration(end - record.created_at),
                failure_reason(record) or result,
            )
        )
    headers = ("ID", "STATE", "FUNCTION", "CREATED (UTC)", "TOOK", "RESULT")
    return table(headers, rows, width=terminal_width(), elastic=("RESULT", "FUNCTION"))
