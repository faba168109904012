"""``understudy invoke``."""

from __future__ import annotations

import json
import math
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from understudy.cli.digits import any_length
from understudy.cli.options import AsJson, Tags, Url

if TYPE_CHECKING:
    from understudy.cli.client import Client
    from understudy_store.records import PromiseRecord

#: a failure that is older was there before the command was given, however the clocks differ
EARLIER_MS: Final = 10_000

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def invoke(
    id: Annotated[str, typer.Argument(metavar="ID", help="Of the call; the same id attaches.")],
    function: Annotated[str, typer.Argument(metavar="FUNC", help="Name of the function.")],
    arg: Annotated[
        list[str] | None,
        typer.Option(metavar="X", help="An argument: JSON, else text; may be repeated."),
    ] = None,
    kwarg: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=X", help="One by name; may be repeated."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="GROUP", help="Who performs it; else UNDERSTUDY_GROUP, else default."),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Its deadline: 90, 500ms, 10m, 2h, 7d; else 30d."),
    ] = None,
    delay: Annotated[
        str | None, typer.Option(metavar="TIME", help="Not before this time from now.")
    ] = None,
    version: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of the function; else the highest.")
    ] = None,
    priority: Annotated[
        int | None, typer.Option(metavar="N", min=-100, max=100, help="Higher goes first.")
    ] = None,
    tag: Tags = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for the result, and print it as JSON.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Call a function durably, by its name.

    The call is stored, then performed by some node of the group, whoever may die meanwhile. Called
    again with the same id it attaches to the call that there is. With --wait the result is printed
    as JSON, and a call that failed gives exit code 1 (with --verbose the traceback, too);
    interrupting the wait leaves the call alone.

    \b
    Examples:
      understudy invoke order-7 checkout --target orders --arg 7 --wait
      understudy invoke mail-1 send --target mail --kwarg to=ann@example.org --kwarg retries=3
      understudy invoke nightly-1 report --arg '{"day": "monday"}' --timeout 2h --json
    """
    from understudy.cli.client import Client
    from understudy.cli.options import pairs, seconds

    args = [json_or_text(text) for text in arg or ()]
    kwargs = {name: json_or_text(text) for name, text in pairs(kwarg, "--kwarg").items()}
    with Client(url) as client:
        runtime = client.runtime.options(
            target=target,
            timeout=seconds(timeout, "--timeout"),
            delay=seconds(delay, "--delay"),
            version=version,
            priority=priority,
            tags=pairs(tag, "--tag"),
        )
        runtime.rpc(id, function, *args, **kwargs)
        found = client.promise(id)
        if found is not None and (arg or kwarg):
            _say_other_arguments(found, args, kwargs)
        try:
            record = _settled(client, id) if wait else found
        except KeyboardInterrupt:
            print(
                f"understudy invoke: {id} goes on; the same command waits for it again",
                file=sys.stderr,
            )
            raise
    assert record is not None
    return _show(record, as_json=as_json, wait=wait)


def _settled(client: Client, id: str) -> PromiseRecord:
    """The record, once it is settled; says so if nobody is there to do it."""
    from understudy_store.addresses import parse_target
    from understudy_store.records import TAG_TARGET

    future = client.settled(id)
    try:
        return future.result(1.0)
    except TimeoutError:
        if future.done():
            raise
    record = client.promise(id)
    target = None if record is None else record.tags.get(TAG_TARGET)
    if target is not None:
        group = parse_target(target).group
        served = sorted(g.name for g in client.groups().groups if g.nodes)
        if group not in served:
            known = ", ".join(served) or "none"
            print(
                f"understudy invoke: nothing serves group {group} yet; waiting (groups with nodes: "
                f"{known})",
                file=sys.stderr,
            )
    return future.result()


def _say_other_arguments(record: PromiseRecord, args: list[Any], kwargs: dict[str, Any]) -> None:
    """The call was there before: what it was made with counts, and not what is given now."""
    from understudy.cli.json_data import compact, decoded, jsonable

    made_with = decoded(record.param.data)
    if made_with != jsonable([args, kwargs]) and isinstance(made_with, list):
        print(
            f"understudy invoke: {record.id} was made before, with the arguments "
            f"{compact(made_with)}; it keeps those. For another call, take another id",
            file=sys.stderr,
        )


def json_or_text(text: str) -> Any:
    """``7`` is a number, ``"7"`` and ``seven`` are texts."""
    try:
        with any_length():
            return json.loads(text)
    except ValueError:
        return text


def _show(record: PromiseRecord, *, as_json: bool, wait: bool) -> int:
    from understudy.cli import errors
    from understudy.cli.json_data import compact, decoded, notes, promise_json, reason, traceback_of
    from understudy.cli.tables import duration, print_json
    from understudy_store.records import RESOLVED, TAG_TARGET

    if as_json:
        print_json(promise_json(record))
    elif record.state == RESOLVED:
        print(compact(decoded(record.value.data), None))
    elif not record.settled:
        print(f"{record.id}: stored for {record.tags.get(TAG_TARGET)}")
    failed = record.settled and record.state != RESOLVED
    if failed:
        if errors.verbose and (where := traceback_of(record)):
            print(where, file=sys.stderr)
        print(f"understudy invoke: {record.id} failed: {reason(record)}", file=sys.stderr)
        for note in notes(record):
            print(f"  {note}", file=sys.stderr)
        ago_ms = time.time() * 1000 - (record.settled_at or math.inf)
        if ago_ms > EARLIER_MS:
            print(
                f"  That was {duration(ago_ms)} ago, and the id keeps it: to try again, take "
                "another id",
                file=sys.stderr,
            )
    return 1 if failed and wait else 0
