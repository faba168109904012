"""``understudy slots``: which broker has which slots, and where the promises of ids are."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from understudy.cli import completion
from understudy.cli.errors import UsageError
from understudy.cli.options import AsJson, Url
from understudy.cli.printing import out

if TYPE_CHECKING:
    from understudy.cli.deployment import Placement
    from understudy_broker.server.slot_moves import Part, SlotMoves

#: how often a long move says how far it is
PROGRESS_S: Final = 2.0

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Ids = Annotated[
    list[str],
    typer.Argument(
        metavar="ID...",
        help="Ids of promises, tasks or schedules. They need not exist.",
        autocompletion=completion.promise_ids,
    ),
]

Slots = Annotated[
    str | None,
    typer.Argument(metavar="[SLOTS]", help="Numbers and runs of numbers, as 0-17,40."),
]
To = Annotated[str, typer.Option("--to", metavar="NAME", help="The broker that is to have them.")]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="NAME",
        help="The broker that has them. [default: the one that has them by the stores]",
    ),
]
ConfigFile = Annotated[
    Path,
    typer.Option(metavar="FILE", help="The file with the [[broker]] tables of all brokers."),
]
All = Annotated[bool, typer.Option("--all", help="Move all slots of --from.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say how many promises would move, and move nothing.")
]


@app.callback(invoke_without_command=True)
def slots(ctx: typer.Context, as_json: AsJson = False, url: Url = None) -> int:
    """Show which broker has which of the 256 slots.

    The slot of an id follows from its home, the text before the first dot. Everything in a slot is
    at one broker.

    \b
    Examples:
      understudy slots
      understudy slots of order-7 order-8

    \b
    Exit codes:
      4  no broker answers
    """
    if ctx.invoked_subcommand is None:
        return _show(as_json, url)
    if as_json or url is not None:
        command = f"understudy slots {ctx.invoked_subcommand}"
        raise UsageError(f"options stand after the command, as in: {command} --json")
    return 0


@app.command()
def show(as_json: AsJson = False, url: Url = None) -> int:
    """Show which broker has which slots; the same as without a command.

    --json prints an object with the version of the map (null: one broker has all slots) and the
    slots of each broker. Slots that no broker has at the moment are "unowned".

    \b
    Examples:
      understudy slots show
      understudy slots show --json
    """
    return _show(as_json, url)


@app.command(name="of")
def of_ids(ids: Ids, as_json: AsJson = False, url: Url = None) -> int:
    """Show the home of each id, its slot, and the broker that has it.

    --json prints a list of objects.

    \b
    Examples:
      understudy slots of order-7
      understudy slots of order-7 order-7.3.pay nightly --json
    """
    from understudy.cli.deployment import read_placement
    from understudy.cli.json_data import print_json
    from understudy.cli.tables import table
    from understudy_store.slots import home_of, slot_of

    owners = read_placement(url).owners
    rows = [(id, home_of(id), slot_of(id), owners[slot_of(id)]) for id in ids]
    if as_json:
        keys = ("id", "home", "slot", "broker")
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        out(table(("ID", "HOME", "SLOT", "BROKER"), rows))
    return 0


@app.command()
def move(
    to: To,
    config: ConfigFile,
    slots: Slots = None,
    source: From = None,
    all_slots: All = False,
    dry_run: DryRun = False,
) -> int:
    """Move slots, with all promises in them, to the store of another broker.

    Stop the brokers that have the slots and the one that is to have them first: all their stores
    are SQLite files on this machine, and only this command may have them open. Other brokers may
    run. A move that is cut short loses nothing: the same command completes it.

    \b
    Examples:
      understudy slots move 128-255 --to b --config brokers.toml
      understudy slots move --all --from c --to a --config brokers.toml --dry-run

    \b
    Exit codes:
      0  moved, or there already
      1  a store cannot be opened, or another broker has the slots
      2  wrong usage, an unknown broker, or the file is wrong
    """
    from understudy.cli.store_files import store_files
    from understudy_broker.server.slot_moves import ALL, SlotMoves, all_of

    if all_slots == (slots is not None):
        raise UsageError("name the slots, as in 0-17,40, or say --all --from NAME")
    if all_slots and source is None:
        raise UsageError("--all needs --from: the broker whose slots are to be moved")
    wanted = ALL if slots is None else parse_slots(slots)
    with SlotMoves(store_files(config)) as moves:
        parts = moves.plan(wanted, source, to)
        if not parts:
            which = f"all slots of {source}" if slots is None else f"the slots {slots}"
            left = "" if source is None or slots is None else f", and {source} has none of them"
            out(f"nothing to do: {which} are at {to} already{left}")
        elif dry_run:
            for part in parts:
                promises = f"{moves.count(part):,} promises"
                out(f"would move {_names(part)} from {part.source} to {to}: {promises}")
        else:
            for part in parts:
                _move(moves, part, to)
            out(f"moved the slots {all_of(parts)} to {to}. Start the brokers again")
    return 0


def _move(moves: SlotMoves, part: Part, to: str) -> None:
    total = moves.count(part)
    out(f"moving {_names(part)} from {part.source} to {to}: {total:,} promises", flush=True)
    say_at = monotonic() + PROGRESS_S

    def on_progress(_: str, copied: int) -> None:
        nonlocal say_at
        if monotonic() >= say_at:
            say_at = monotonic() + PROGRESS_S
            out(f"{copied:,} of {total:,} promises copied", flush=True)

    moves.move(part, to, on_progress)


def _names(part: Part) -> str:
    from understudy_broker.server.placement import runs_text

    return f"the slots {runs_text(part.slots)}"


def parse_slots(text: str) -> list[int]:
    """Return the slots that a text names, in order: ``0-17, 40``.

    Raises
    ------
    UsageError
        It names none, or is something else.
    """
    from understudy_store.slots import SLOTS

    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        numbers = (first, last if dash else first)
        if not all(number.isascii() and number.isdigit() for number in numbers):
            raise UsageError(f"{part.strip()!r} is no slot and no run of slots, as in 0-17,40")
        begin, end = map(int, numbers)
        if end < begin:
            raise UsageError(f"{part.strip()!r} runs backwards: write {end}-{begin}")
        if end >= SLOTS:
            raise UsageError(f"{part.strip()!r}: slots go from 0 to {SLOTS - 1}")
        found.update(range(begin, end + 1))
    return sorted(found)


def _show(as_json: bool, url: str | None) -> int:
    from understudy.cli.deployment import read_placement
    from understudy.cli.json_data import print_json

    placement = read_placement(url)
    if as_json:
        print_json(placement_json(placement))
    else:
        out(placement_text(placement))
    return 0


def placement_json(placement: Placement) -> dict[str, Any]:
    """Return the placement as JSON data."""
    return {
        "deployment": placement.deployment,
        "version": placement.version,
        "brokers": [
            {"name": name, "address": address, "slots": placement.slots_of(name)}
            for name, address in placement.brokers
        ],
        "unowned": placement.slots_of(None),
    }


def placement_text(placement: Placement) -> str:
    """Return a table with a line for each broker."""
    from understudy.cli.tables import table
    from understudy_broker.server.placement import runs_text

    of = placement.slots_of
    rows: list[tuple[object, ...]] = [
        (name, len(of(name)), runs_text(of(name))) for name, _ in placement.brokers
    ]
    if of(None):
        rows.append(("(nobody)", len(of(None)), runs_text(of(None))))
    return table(("BROKER", "SLOTS", "WHICH"), rows)
