"""``understudy audit``: check and read the audit of a broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from understudy.cli.options import LIMIT, AsJson, Limit
from understudy.cli.printing import err, out, printable_line

if TYPE_CHECKING:
    from understudy_broker.audit.chain import ChainCheck, Place

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE...",
        help="The file that --audit names, with its older parts (FILE.000001 and so on); or "
        "several parts, the oldest first.",
    ),
]
Expect = Annotated[
    str | None,
    typer.Option(
        metavar="HASH", help="A hash that was noted earlier, which a line must still have."
    ),
]
#: what stands in columns of its own, or says nothing to people
_COLUMNS: Final = ("number", "time", "what", "identity", "name", "before", "pid")


@app.callback()
def audit() -> None:
    """Check and read the audit of a broker: who was let in or refused, and who changed what.

    A broker writes it to the file that --audit names. Each line is one JSON object with the SHA-256
    of the line before it. These commands work on files.

    \\b
    Examples:
      understudy broker --keys /etc/understudy/keys --audit /var/log/understudy/audit.jsonl
      understudy audit verify /var/log/understudy/audit.jsonl
      understudy audit show /var/log/understudy/audit.jsonl --identity team-a/node-1
    """


@app.command()
def verify(files: Files, expect: Expect = None, as_json: AsJson = False) -> int:
    """Check that no line of an audit was changed, removed or inserted.

    Prints the hash of the last line. Keep it elsewhere: whoever may write the file could cut off
    its end, or make all of it anew, and only a hash that was noted before shows that (--expect).

    What a crash has left of a line is told, and is no error. --json prints one object.

    \\b
    Examples:
      understudy audit verify /var/log/understudy/audit.jsonl
      understudy audit verify /var/log/understudy/audit.jsonl --expect 9f86d081…

    Exits with 1 if a line does not fit, or none has the expected hash.
    """
    from understudy.cli.json_data import print_json
    from understudy_broker.audit.chain import ChainCheck

    check = ChainCheck(expect)
    for _ in _lines(files, check):
        pass
    if as_json:
        print_json(_data(check))
    else:
        _tell(check, expect)
    return 0 if check.problem is None and check.has_expected else 1


@app.command()
def show(
    files: Files,
    identity: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only lines of this identity, or for it.")
    ] = None,
    what: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Only lines of this kind, such as refused, or command."),
    ] = None,
    limit: Limit = LIMIT,
    as_json: AsJson = False,
) -> int:
    """Show lines of an audit, the last ones.

    --json prints a list of objects. Whether the chain holds is for: understudy audit verify

    \\b
    Examples:
      understudy audit show /var/log/understudy/audit.jsonl
      understudy audit show /var/log/understudy/audit.jsonl --what refused --limit 20
    """
    from collections import deque

    from understudy.cli.json_data import print_json
    from understudy.cli.tables import table

    found: deque[dict[str, Any]] = deque(maxlen=limit)
    for line in _lines(files, None):
        if identity is not None and identity not in (line.get("identity"), line.get("for")):
            continue
        if what is None or line["what"] == what:
            found.append(line)
    if as_json:
        print_json(list(found))
    elif not found:
        out("There are no such lines.")
    else:
        out(table(("TIME", "WHAT", "WHO", "DETAILS"), [_row(line) for line in found]))
    return 0


def _lines(files: list[Path], check: ChainCheck | None) -> Iterator[dict[str, Any]]:
    """Return the lines of files that fit into the chain; without a check, all whole ones."""
    from understudy.cli.errors import UsageError
    from understudy_broker.audit.audit_file import older_parts
    from understudy_broker.audit.chain import Place, parse_line

    if len(files) == 1:
        files = [*older_parts(files[0]), *files]
    for path in files:
        try:
            with path.open("rb") as file:
                for number, raw in enumerate(_pieces(file), 1):
                    line = (
                        parse_line(raw)
                        if check is None
                        else check.feed(raw, Place(str(path), number))
                    )
                    if line is not None:
                        yield line
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _pieces(file: Any) -> Iterator[bytes]:
    """Return lines; a line that is longer than any of an audit comes in pieces."""
    from understudy_broker.audit.chain import LINE_BYTES_MAX

    while piece := file.readline(LINE_BYTES_MAX + 1):
        yield piece


def _tell(check: ChainCheck, expect: str | None) -> None:
    for place in check.torn:
        out(printable_line(f"{_at(place)}: not whole, as a crash leaves it"))
    if check.begins_later:
        assert check.first is not None
        out(f"the lines before number {check.first['number']} are in other files")
    if check.end is not None:
        assert check.first is not None
        assert check.last is not None
        span = printable_line(f"{check.first['time']} to {check.last['time']}")
        out(f"{check.lines:,} lines fit, {span}; the hash of the last one:")
        out(check.end.hash)
    if check.problem is not None:
        err(printable_line(f"{_at(check.problem.place)}: {check.problem.why}"))
    elif not check.lines:
        out("there are no lines")
    if not check.has_expected:
        err(printable_line(f"no line has the hash {expect}"))


def _at(place: Place) -> str:
    return f"{place.file}, line {place.line}"


def _data(check: ChainCheck) -> dict[str, Any]:
    problem = check.problem
    return {
        "ok": problem is None and check.has_expected,
        "lines": check.lines,
        "first": None if check.first is None else check.first["number"],
        "last": None if check.end is None else check.end.number,
        "hash": None if check.end is None else check.end.hash,
        "has_expected": check.has_expected,
        "torn": [place._asdict() for place in check.torn],
        "problem": None if problem is None else {**problem.place._asdict(), "why": problem.why},
    }


def _row(line: dict[str, Any]) -> tuple[object, ...]:
    details = " ".join(f"{name}={value}" for name, value in line.items() if name not in _COLUMNS)
    who = " ".join(str(line[name]) for name in ("identity", "name") if name in line)
    return (
        printable_line(line["time"]),
        printable_line(line["what"]),
        printable_line(who) or None,
        printable_line(details) or None,
    )
