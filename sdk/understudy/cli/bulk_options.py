"""Options of commands that change many calls at once."""

from __future__ import annotations

from typing import Annotated

import typer

Yes = Annotated[
    bool,
    typer.Option("--yes", "-y", help="Do not ask. Needed where there is no terminal to ask at."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only show what would be done, and to which calls.")
]
All = Annotated[
    bool, typer.Option("--all", help="Without any condition: all that the command suits.")
]
Cause = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Only where this text is in the reason why the call is parked, or is tried again.",
    ),
]
