"""``understudy invoke``: call a function."""

from __future__ import annotations

import math
import time
from itertools import chain, repeat
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from understudy.cli.options import Arguments, AsJson, Function, NamedArguments, Tags, Target, Url
from understudy.cli.printing import err, out
from understudy.options import PRIORITY_MAX

if TYPE_CHECKING:
    from understudy.cli.client import Client
    from understudy_store.records import PromiseRecord

#: A failure older than this happened before the command was given, even if the clocks differ.
_EARLIER_MS: Final = 10_000
#: Seconds of waiting before the first looks why the call takes long; the second one tells what the
#: first has found.
_FIRST_LOOKS_S: Final = (1.0, 0.3)
#: seconds between two further looks
_LOOK_S: Final = 3.0

app = typer.Typer(rich_markup_mode=None, add_completion=False)


Id = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="The call's id. If a call of this id exists, invoke attaches to it."
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="The call's deadline, from now: 90 (seconds), 500ms, 10m, 2h, 7d. [default: 30d]",
    ),
]
Delay = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Start the call after this time. [default: 0]"),
]
Version = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="The function's version. [default: the highest]"),
]
Priority = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=-PRIORITY_MAX,
        max=PRIORITY_MAX,
        help="Queued calls of a higher priority start first. [default: 0]",
    ),
]
Wait = Annotated[
    bool,
    typer.Option("--wait/--no-wait", help="Wait for the result, and print it as JSON."),
]


@app.command()
def invoke(
    id: Id,
    function: Function,
    arg: Arguments = None,
    kwarg: NamedArguments = None,
    target: Target = None,
    timeout: Timeout = None,
    delay: Delay = None,
    version: Version = None,
    priority: Priority = None,
    tag: Tags = None,
    wait: Wait = False,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Call a function durably, by its name.

    The call is stored, then a node of the group performs it, whatever crashes in the meantime. If
    the id is used again, invoke attaches to the existing call, which keeps its arguments. Ctrl-C
    ends the wait, not the call. Add --verbose to see the traceback of a call that failed.

    --json prints one object: the promise with its state, value and error.

    \b
    Examples:
      understudy invoke order-7 checkout --target orders --arg 7 --wait
      understudy invoke mail-1 send --target mail --kwarg to=ann@example.org --kwarg retries=3
      understudy invoke nightly-1 report --arg '{"day": "monday"}' --timeout 2h --json

    \b
    Exit codes:
      0    the call is stored; with --wait, it succeeded
      1    with --wait: the call failed
      2    wrong usage
      3    the broker refused the call, so it is not stored
      4    no broker answers
      130  stopped with Ctrl-C; a stored call continues
    """
    from understudy.cli.client import Client
    from understudy.cli.options import parse_arguments, parse_pairs
    from understudy.cli.times import parse_seconds

    args, kwargs = parse_arguments(arg, kwarg)
    with Client(url) as client:
        runtime = client.runtime.options(
            target=target,
            timeout=parse_seconds(timeout, "--timeout"),
            delay=parse_seconds(delay, "--delay"),
            version=version,
            priority=priority,
            tags=parse_pairs(tag, "--tag"),
        )
        runtime.rpc(id, function, *args, **kwargs)
        try:
            record = client.find_promise(id)
            if record is not None and (args or kwargs):
                _warn_of_other_arguments(record, args, kwargs)
            if wait:
                record = _wait_until_settled(client, id)
        except KeyboardInterrupt:
            err(
                f"understudy invoke: {id} continues; the same command waits for it again",
            )
            raise
    assert record is not None
    return show_call(record, as_json=as_json, wait=wait)


def _wait_until_settled(client: Client, id: str) -> PromiseRecord:
    """Wait for the call; the notices tell the user if it does not go on, and why."""
    future = client.watch(id)
    pauses_s = chain(_FIRST_LOOKS_S, repeat(_LOOK_S))
    while True:
        try:
            return future.result(next(pauses_s))
        except TimeoutError:
            if future.done():
                raise
        client.runtime.session.notices.look(id)


def _warn_of_other_arguments(
    record: PromiseRecord, args: list[Any], kwargs: dict[str, Any]
) -> None:
    """Warn if the call already existed with arguments other than those given now."""
    from understudy.views.json_data import compact, decoded, jsonable

    original = decoded(record.param.data)
    if original != jsonable([args, kwargs]) and isinstance(original, list):
        err(
            f"understudy invoke: {record.id} already exists, with the arguments "
            f"{compact(original)}. Those are kept. Use a new id for a new call",
        )


def show_call(record: PromiseRecord, *, as_json: bool, wait: bool) -> int:
    """Print the call as it is now; return the exit code."""
    from understudy.cli.json_data import print_json
    from understudy.views.json_data import compact, decoded
    from understudy.views.records import has_failed, promise_json
    from understudy_store.records import RESOLVED, TAG_TARGET

    if as_json:
        print_json(promise_json(record))
    elif record.state == RESOLVED:
        out(compact(decoded(record.value.data), None))
    elif not record.settled:
        out(f"{record.id}: stored for {record.tags.get(TAG_TARGET)}")
    if not has_failed(record):
        return 0
    _print_failure(record)
    return 1 if wait else 0


def _print_failure(record: PromiseRecord) -> None:
    from understudy.cli import errors
    from understudy.cli.times import duration
    from understudy.views.records import failure_notes, failure_text, failure_traceback

    if errors.verbose and (text := failure_traceback(record)):
        err(text)
    err(f"understudy invoke: {record.id} failed: {failure_text(record)}")
    for note in failure_notes(record):
        err(f"  {note}")
    ago_ms = time.time() * 1000 - (record.settled_at or math.inf)
    if ago_ms > _EARLIER_MS:
        err(
            f"  That was {duration(ago_ms)} ago, and the result of an id never changes. "
            "To try again, use a new id",
        )
