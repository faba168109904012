"""``understudy store``: see what a store has, and make the file of a SQLite store small."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.options import AsJson, Url
from understudy.cli.printing import out, printable_line

if TYPE_CHECKING:
    from understudy_store.records import StoreStats

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

FileOrBroker = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="The file of a SQLite store; without one, ask a broker."),
]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The file of a SQLite store.")]


@app.callback()
def store() -> None:
    """See what a store has, and make its file small.

    \b
    Examples:
      understudy store stats understudy.db
      understudy store compact understudy.db
    """


@app.command()
def stats(file: FileOrBroker = None, as_json: AsJson = False, url: Url = None) -> int:
    """Show what a store has: rows, bytes, the calls by group and function, its oldest call.

    With FILE it is read from the file; a running broker may have it open, and then it is up to a
    second behind. Else the broker tells, of several brokers all together.

    \b
    Examples:
      understudy store stats understudy.db
      understudy store stats --url tcp://127.0.0.1:5577 --json
    """
    import msgspec

    from understudy.cli.json_data import print_json
    from understudy.cli.tables import table
    from understudy.cli.times import duration, now_ms

    if file is not None and url is not None:
        from understudy.cli.errors import UsageError

        raise UsageError("name a file, or a broker by --url, not both")
    found = _of_broker(url) if file is None else _of_file(file)
    if as_json:
        print_json(msgspec.structs.asdict(found))
        return 0
    out(
        f"{found.promises:,} promises, {found.pending:,} of them pending; {found.tombstones:,} "
        f"tombstones; {found.attempts:,} attempts in the log"
    )
    if found.file_bytes is not None:
        out(
            f"{found.file_bytes:,} bytes, {found.free_bytes or 0:,} of them free; journal "
            f"{found.journal_bytes or 0:,} bytes, SQLite's log {found.log_bytes or 0:,} bytes"
        )
    if found.oldest_ended_at is not None:
        out(f"the oldest call ended {duration(now_ms() - found.oldest_ended_at)} ago")
    if found.functions:
        rows = [(group, name or None, f"{count:,}") for group, name, count in found.functions]
        out("")
        for line in table(("GROUP", "FUNCTION", "CALLS"), rows).splitlines():
            out(printable_line(line))
    return 0


def _of_file(file: Path) -> StoreStats:
    from understudy_store.engines.sqlite.upkeep import stats as read

    return read(file)


def _of_broker(url: str | None) -> StoreStats:
    from understudy.cli.client import Client
    from understudy_store.commands import StatsGet

    with Client(url) as client:
        found = client.command(StatsGet()).stats
    assert found is not None
    return found


@app.command()
def compact(file: File) -> int:
    """Write the file anew, as small as it can be; no broker may have it open.

    It takes about as much room again on the disk until it is done. Purges give most of their room
    back by themselves, in files that this release has made or compacted.

    \b
    Example:
      understudy store compact understudy.db
    """
    from understudy_store.engines.sqlite.upkeep import compact as compact_file

    before, after = compact_file(file)
    out(f"{file}: {before:,} bytes before, {after:,} bytes now")
    return 0
