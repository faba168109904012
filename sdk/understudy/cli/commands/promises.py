"""``understudy promises``."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from understudy.cli.options import AsJson, Tags, Url

if TYPE_CHECKING:
    from understudy_store.records import PromiseRecord, TaskRecord

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

STATES: Final = ("pending", "resolved", "rejected", "rejected_canceled", "rejected_timedout")

Id = Annotated[str, typer.Argument(metavar="ID", help="Of the promise.")]


@app.callback()
def promises() -> None:
    """Look at promises; settle, create and cancel them.

    \b
    Examples:
      understudy promises search --state pending --prefix order-
      understudy promises resolve order-7.approval --value '{"by": "ann"}'
      understudy promises get order-7 --json
    """


@app.command()
def get(id: Id, as_json: AsJson = False, url: Url = None) -> int:
    """Show one promise; of one that failed, also where that happened.

    Values are decoded where they are plain data; what is pickled is never unpickled here. Of one
    that is pending and has a task, that is shown too: why it is parked, for instance.

    \b
    Example:
      understudy promises get order-7
    """
    from understudy.cli.client import Client
    from understudy_store.commands import PromiseGet, TaskGet
    from understudy_store.records import TAG_TARGET

    with Client(url) as client:
        record = client.command(PromiseGet(id)).promise
        assert record is not None
        waits = not record.settled and TAG_TARGET in record.tags
        task = client.command(TaskGet(id)).task if waits else None
    return _show(record, as_json, task)


@app.command()
def create(
    id: Id,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Its deadline: 90, 500ms, 10m, 7d; else 30d."),
    ] = None,
    value: Annotated[
        str | None,
        typer.Option(metavar="X", help="For whoever settles it to read: JSON, else text."),
    ] = None,
    tag: Tags = None,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Make a promise that the outside will settle; the same id again shows the one there is.

    \b
    Example:
      understudy promises create approval-7 --timeout 7d --value '{"amount": 120}'
    """
    from understudy.cli.client import Client
    from understudy.cli.commands.invoke import json_or_text
    from understudy.cli.options import pairs, seconds
    from understudy.promises import record_of

    given: Any = None if value is None else json_or_text(value)
    with Client(url) as client:
        made = client.runtime.promises.create(
            id, timeout=seconds(timeout, "--timeout"), tags=pairs(tag, "--tag"), value=given
        )
    return _show(record_of(made), as_json)


@app.command()
def resolve(
    id: Id,
    value: Annotated[
        str | None, typer.Option(metavar="X", help="The value: JSON, else text; else null.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Settle a promise with a value. One that is settled otherwise stays so: exit code 1.

    \b
    Example:
      understudy promises resolve approval-7 --value true
    """
    from understudy.cli.client import Client
    from understudy.cli.commands.invoke import json_or_text
    from understudy.cli.json_data import decoded
    from understudy.promises import record_of
    from understudy_store.records import RESOLVED

    given: Any = None if value is None else json_or_text(value)
    with Client(url) as client:
        record = record_of(client.runtime.promises.resolve(id, given))
    return _settled(record, RESOLVED, as_json, same=decoded(record.value.data) == given)


@app.command()
def reject(
    id: Id,
    error: Annotated[
        str, typer.Option(metavar="TEXT", help="What whoever waits for it will see raised.")
    ] = "rejected",
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Settle a promise with a failure. One that is settled otherwise stays so: exit code 1.

    \b
    Example:
      understudy promises reject approval-7 --error "too expensive"
    """
    from understudy.cli.client import Client
    from understudy.promises import record_of
    from understudy_store.records import REJECTED

    with Client(url) as client:
        record = record_of(client.runtime.promises.reject(id, error))
    return _settled(record, REJECTED, as_json)


@app.command()
def cancel(id: Id, as_json: AsJson = False, url: Url = None) -> int:
    """Cancel a promise and, in its call graph, all that it still waits for.

    \b
    Example:
      understudy promises cancel order-7
    """
    from understudy.cli.client import Client
    from understudy.promises import record_of
    from understudy_store.records import CANCELED

    with Client(url) as client:
        record = record_of(client.runtime.promises.cancel(id))
    return _settled(record, CANCELED, as_json)


@app.command()
def search(
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help=f"One of: {', '.join(STATES)}.")
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="Of the id.")] = "",
    origin: Annotated[
        str | None, typer.Option(metavar="ID", help="Only the call graph with this root.")
    ] = None,
    tag: Tags = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 100,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """List promises, in the order of their ids.

    \b
    Examples:
      understudy promises search --state pending
      understudy promises search --prefix order- --tag customer=ann --limit 1000 --json
    """
    from understudy.cli.client import Client
    from understudy.cli.errors import UsageError
    from understudy.cli.json_data import promise_json
    from understudy.cli.options import pairs
    from understudy.cli.tables import print_json

    if state is not None and state not in STATES:
        raise UsageError(f"--state {state!r}: it is one of {', '.join(STATES)}")
    with Client(url) as client:
        found = list(
            client.promises(
                state=state,
                tags=pairs(tag, "--tag"),
                prefix=prefix,
                origin=origin,
                limit=limit + 1,
            )
        )
    cut = len(found) > limit
    if as_json:
        print_json([promise_json(record) for record in found[:limit]])
    else:
        print(_table(found[:limit]))
        if cut:
            print(f"There are more than {limit:,}: add --limit or --prefix")
    return 0


def _settled(record: PromiseRecord, wanted: str, as_json: bool, *, same: bool = True) -> int:
    _show(record, as_json)
    if record.state == wanted and same:
        return 0
    how = record.state if record.state != wanted else f"{record.state} with another value"
    print(f"understudy promises: {record.id} was {how} already, and stays so", file=sys.stderr)
    return 1


def _show(record: PromiseRecord | None, as_json: bool, task: TaskRecord | None = None) -> int:
    from understudy.cli.json_data import (
        compact,
        decoded,
        promise_json,
        reason,
        task_json,
        traceback_of,
        trouble,
    )
    from understudy.cli.tables import moment, print_json
    from understudy_store.records import HEADER_FUNCTION, RESOLVED

    assert record is not None
    if as_json:
        shown = promise_json(record)
        if task is not None:
            shown["task"] = task_json(task)
        print_json(shown)
        return 0
    facts = {
        "id": record.id,
        "state": record.state,
        "task": None if task is None else task.state,
        "trouble": trouble(task) or None,
        "function": record.param.headers.get(HEADER_FUNCTION),
        "param": compact(decoded(record.param.data), None) if record.param.data else None,
        "value": compact(decoded(record.value.data), None) if record.state == RESOLVED else None,
        "failure": reason(record) or None,
        "created": moment(record.created_at),
        "deadline": moment(record.timeout_at),
        "settled": moment(record.settled_at),
        **{f"tag {name}": text for name, text in sorted(record.tags.items())},
    }
    width = max(map(len, facts))
    for name, fact in facts.items():
        if fact is not None:
            print(f"{name:<{width}}  {fact}")
    if where := traceback_of(record):
        print(f"\n{where}")
    return 0


def _table(records: list[PromiseRecord]) -> str:
    from understudy.cli.json_data import compact, decoded, reason
    from understudy.cli.tables import duration, moment, table
    from understudy_store.records import HEADER_FUNCTION, RESOLVED

    now_ms = time.time_ns() // 1_000_000
    rows = []
    for record in records:
        end = now_ms if record.settled_at is None else record.settled_at
        result = compact(decoded(record.value.data)) if record.state == RESOLVED else ""
        rows.append(
            (
                record.id,
                record.state,
                record.param.headers.get(HEADER_FUNCTION),
                moment(record.created_at),
                duration(end - record.created_at),
                reason(record) or result,
            )
        )
    return table(("ID", "STATE", "FUNCTION", "CREATED (UTC)", "TOOK", "RESULT"), rows)
