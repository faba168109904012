"""``understudy calls``: list calls, the newest first."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Final

import typer

from understudy.cli import completion
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


@app.command()
def calls(
    running: Annotated[
        bool, typer.Option("--running", help="Only calls that have not ended.")
    ] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only calls that raised, or were late.")
    ] = False,
    state: Annotated[
        str | None,
        typer.Option(
            metavar="STATE",
            help="Only calls in this state: pending, resolved, rejected, canceled, timedout or "
            "failed.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Only calls from that time on: so long ago (90, 10m, 2h, 7d), or a moment "
            "(2026-01-31T12:00, in UTC).",
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only calls before that time.")
    ] = None,
    function: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only calls of this function.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Only calls that this group performs.",
            autocompletion=completion.groups,
        ),
    ] = None,
    error: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Only calls that failed with this exception, with its module or without.",
        ),
    ] = None,
    slow: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only calls that have taken so long: 10 (seconds), 5m."),
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="The beginning of the id.")] = "",
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
    """List calls, the newest first.

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
    """
    from understudy.cli.client import Client
    from understudy.cli.errors import UsageError
    from understudy.cli.json_data import print_json
    from understudy.cli.options import parse_pairs
    from understudy.cli.times import now_ms, parse_moment, parse_seconds
    from understudy.states import CALL_STATES, call_states
    from understudy.views.calls import call_json, counts_json

    if watch and as_json:
        raise UsageError("--watch and --json exclude each other: repeat the command with --json")
    words = [*(["pending"] if running else []), *(["failed"] if failed else [])]
    words += [] if state is None else [state]
    states = call_states(words, error=error)
    if states is None:
        raise UsageError(f"--state {state!r} is no state: use one of {', '.join(CALL_STATES)}")
    tags = parse_pairs(tag, "--tag")
    slow_s = parse_seconds(slow, "--slow")

    def search(size: int, at: str | None) -> CallSearch:
        # Anew for each look of --watch, because the times may be relative to now.
        return CallSearch(
            states,
            function,
            group,
            error,
            tags,
            prefix,
            parse_moment(since, "--since"),
            parse_moment(until, "--until"),
            round((slow_s or 0.0) * 1000),
            size,
            at,
            at == cursor,
        )

    search(1, None)  # A time that cannot be read is told before a broker is looked for.
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
