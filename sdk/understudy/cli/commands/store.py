"""``understudy store``: see what a SQLite store has, and make its file small."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.options import AsJson
from understudy.cli.printing import out, printable_line

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The file of a SQLite store.")]


@app.callback()
def store() -> None:
    """See what the file of a store has, and make it small.

    \b
    Examples:
      understudy store stats understudy.db
      understudy store compact understudy.db
    """


@app.command()
def stats(file: File, as_json: AsJson = False) -> int:
    """Show what a store has: rows, bytes, the calls by group and function, its oldest call.

    A running broker may have it open; its file is up to a second behind.

    \b
    Example:
      understudy store stats understudy.db
    """
    import msgspec

    from understudy.cli.json_data import print_json
    from understudy.cli.tables import table
    from understudy.cli.times import duration, now_ms
    from understudy_store.engines.sqlite.upkeep import stats as read

    found = read(file)
    if as_json:
        print_json(msgspec.structs.asdict(found))
        return 0
    out(
        f"{found.promises:,} promises, {found.pending:,} of them pending; {found.tombstones:,} "
        f"tombstones; {found.attempts:,} attempts in the log"
    )
    out(
        f"{found.file_bytes:,} bytes, {found.free_bytes:,} of them free; journal "
        f"{found.journal_bytes:,} bytes, SQLite's log {found.log_bytes:,} bytes"
    )
    if found.oldest_ended_at is not None:
        out(f"the oldest call ended {duration(now_ms() - found.oldest_ended_at)} ago")
    if found.functions:
        rows = [(group, name or None, f"{count:,}") for group, name, count in found.functions]
        out("")
        for line in table(("GROUP", "FUNCTION", "CALLS"), rows).splitlines():
            out(printable_line(line))
    return 0


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
