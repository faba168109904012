"""``understudy calls``: list calls, the newest first, and act on many of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Final

import typer

from understudy.cli.call_filters import (
    CallFilters,
    ErrorClass,
    Failed,
    FunctionName,
    Group,
    Prefix,
    Running,
    Since,
    Slow,
    State,
    Until,
    state_words,
)
from understudy.cli.commands.call_actions import add_actions
from understudy.cli.options import AsJson, Limit, Tags, Url
from understudy.cli.printing import out, out_painted, printable, printable_line
from understudy_store.commands import CallSearch, Reply

if TYPE_CHECKING:
    from understudy.cli.client import Client
    from understudy_store.records import CallRecord

app = typer.Typer(rich_markup_mode=None, add_completion=False)

#: calls that are listed unless --limit is given
_LIMIT: Final = 50
#: the pause between two reads with --watch, in seconds
_POLL_S: Final = 2.0


@app.callback(invoke_without_command=True)
def calls(
    context: typer.Context,
    running: Running = False,
    failed: Failed = False,
    state: State = None,
    since: Since = None,
    until: Until = None,
    function: FunctionName = None,
    group: Group = None,
    error: ErrorClass = None,
    slow: Slow = None,
    prefix: Prefix = "",
    tag: Tags = None,
    limit: Limit = _LIMIT,
    cursor: Annotated[
        str | None,
        typer.Option(metavar="CURSOR", help="Go on where another list ended, which names it."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show the list again and again, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """List calls, the newest first; the commands below do something to many of them.

    The list has the calls that begin a call graph, detached ones too, not those below them:
    understudy tree shows these. Below the list, all that match are counted by state (at each
    broker the newest 10,000 of them).

    --since and --until are about the time of creation; if only calls are listed that ended without
    a value (--failed, --error), about the time of their end.

    \b
    CREATED  when the call was made, in UTC
    TOOK     from then to its end, or until now
    TRIES    attempts, with one that is running or due
    NODE     the process that had it last
    REASON   the class of the exception that it failed with, or why it does not go on

    --json prints one object: calls, counts, and the cursor of the next page. With --watch, but not
    on a terminal, each change is printed as a line.

    \b
    Examples:
      understudy calls --running --slow 10m
      understudy calls --failed --since 1h
      understudy calls --function checkout --tag customer=ann --since 2026-01-31
      understudy calls --error TimeoutError --since 1d --json | jq '.calls[].id'
      understudy calls cancel --function checkout --since 1h
    """
    from understudy.cli.errors import UsageError

    if (action := context.invoked_subcommand) is not None:
        _refuse_options_before(action, context)
        return 0
    if watch and as_json:
        raise UsageError("--watch and --json exclude each other: repeat the command with --json")
    words = state_words(running, failed, state)
    filters = CallFilters(words, since, until, function, group, error, slow, prefix, tag)
    states = filters.states(error=error)

    def search(size: int, at: str | None) -> CallSearch:
        # Anew for each look of --watch, because the times may be relative to now.
        return filters.search(states, error=error, limit=size, cursor=at, counts=at == cursor)

    search(1, None)  # A time that cannot be read is told before a broker is looked for.
    return _list(search, limit, cursor, url, watch=watch, as_json=as_json)


add_actions(app)


def _refuse_options_before(action: str, context: typer.Context) -> None:
    """Refuse options of the list in front of a subcommand, which would not see them."""
    from understudy.cli.errors import UsageError

    given = [
        name.replace("_", "-")
        for name in context.params
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]
    if given:
        raise UsageError(
            f"options come after the subcommand: understudy calls {action} --{given[0]} ..."
        )


def _list(
    search: Callable[[int, str | None], CallSearch],
    limit: int,
    cursor: str | None,
    url: str | None,
    *,
    watch: bool,
    as_json: bool,
) -> int:
    from understudy.cli.client import Client
    from understudy.cli.json_data import print_json
    from understudy.cli.times import now_ms
    from understudy.views.calls import call_json, counts_json

    with Client(url) as client:
        if watch:
            _watch(lambda: _page(client, search, limit, cursor))
            return 0
        page = _page(client, search, limit, cursor)
    if as_json:
        now = now_ms()
        shown = [call_json(call, now) for call in page.calls or ()]
        print_json(
            {"calls": shown, "counts": counts_json(page.counts or {}), "cursor": page.cursor}
        )
    else:
        out_painted(list_text(page, now_ms()))
    return 0


def _page(
    client: Client,
    search: Callable[[int, str | None], CallSearch],
    limit: int,
    cursor: str | None,
) -> Reply:
    """Read up to `limit` calls as one page, with their number by state."""
    from understudy.cli.client import PAGE_MAX

    page = client.command(search(min(PAGE_MAX, limit), cursor))
    found = list(page.calls or ())
    at = page.cursor
    while at is not None and len(found) < limit:
        following = client.command(search(min(PAGE_MAX, limit - len(found)), at))
        found += following.calls or ()
        at = following.cursor
    return Reply(200, calls=found, cursor=at, counts=page.counts)


def list_text(page: Reply, now: int) -> str:
    """Return a table of the calls of a page, and below it their number by state."""
    from understudy.cli.tables import table, terminal_width

    calls = page.calls or []
    lines = [_counts_line(page)]
    if calls:
        headers = ("ID", "STATUS", "FUNCTION", "GROUP", "CREATED (UTC)", "TOOK", "TRIES", "NODE")
        rows = [_row(call, now) for call in calls]
        width = terminal_width()
        elastic = ("REASON", "FUNCTION")
        lines.insert(0, table((*headers, "REASON"), rows, width=width, elastic=elastic))
    if page.cursor is not None:
        lines.append(f"There are more: raise --limit, or go on with --cursor {quote(page.cursor)}")
    return "\n".join([*lines[:1], *map(printable_line, lines[1:])])


def _row(call: CallRecord, now: int) -> tuple[object, ...]:
    from understudy.cli.times import duration, moment
    from understudy.views.calls import call_reason, call_status
    from understudy_store.calls import took_ms

    return (
        call.id,
        call_status(call),
        call.function or None,
        call.group,
        moment(call.created_at),
        duration(took_ms(call, now)),
        call.failures + 1,
        call.node,
        call_reason(call),
    )


def _counts_line(page: Reply) -> str:
    """Return a line such as ``1,204 calls: 3 pending, 1,190 resolved, 11 rejected``."""
    from understudy.views.calls import counts_json
    from understudy_store.commands import COUNTED_MAX

    counts = counts_json(page.counts or {})
    total = sum(counts.values())
    if not total:
        return "No calls"
    parts = ", ".join(f"{count:,} {word}" for word, count in counts.items())
    if total >= COUNTED_MAX:
        return f"Of the newest {total:,} calls: {parts}"
    return f"{total:,} {'call' if total == 1 else 'calls'}: {parts}"


def _watch(read: Callable[[], Reply]) -> None:
    """Read and show a list again and again, until it is interrupted."""
    from understudy.cli.times import now_ms

    if not sys.stdout.isatty():
        _watch_in_lines(read)
        return
    from rich.live import Live
    from rich.text import Text

    from understudy.cli.colors import paint_lines

    with Live(auto_refresh=False) as live:
        while True:
            drawn = paint_lines(printable(list_text(read(), now_ms())))
            live.update(Text.from_ansi(drawn, no_wrap=True, overflow="ellipsis"), refresh=True)
            time.sleep(_POLL_S)


def _watch_in_lines(read: Callable[[], Reply]) -> None:
    from understudy.views.calls import call_reason, call_status

    printed: dict[str, str] = {}
    while True:
        shown: dict[str, str] = {}
        for call in reversed(read().calls or []):
            reason = call_reason(call)
            text = f"{call.id}  {call_status(call)}" + (f"  {reason}" if reason else "")
            shown[call.id] = text
            if printed.get(call.id) != text:
                out(printable_line(text), flush=True)
        printed = shown
        time.sleep(_POLL_S)
