"""``understudy slots``: which broker has which slots, and where the promises of ids are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli import completion
from understudy.cli.errors import UsageError
from understudy.cli.options import AsJson, Url

if TYPE_CHECKING:
    from understudy.cli.deployment import Placement

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Ids = Annotated[
    list[str],
    typer.Argument(
        metavar="ID...",
        help="Ids of promises, tasks or schedules. They need not exist.",
        autocompletion=completion.promise_ids,
    ),
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
        print(table(("ID", "HOME", "SLOT", "BROKER"), rows))
    return 0


def _show(as_json: bool, url: str | None) -> int:
    from understudy.cli.deployment import read_placement
    from understudy.cli.json_data import print_json

    placement = read_placement(url)
    if as_json:
        print_json(placement_json(placement))
    else:
        print(placement_text(placement))
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

    of = placement.slots_of
    rows: list[tuple[object, ...]] = [
        (name, len(of(name)), runs_text(of(name))) for name, _ in placement.brokers
    ]
    if of(None):
        rows.append(("(nobody)", len(of(None)), runs_text(of(None))))
    return table(("BROKER", "SLOTS", "WHICH"), rows)


def runs_text(numbers: Sequence[int]) -> str:
    """Return numbers in order as text, with runs that follow each other joined: ``0-17, 40``."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
