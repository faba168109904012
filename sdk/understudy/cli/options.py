"""Options that several commands have in common."""

from __future__ import annotations

from typing import Annotated

import typer

from understudy.cli.errors import UsageError

Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Where the broker is; else UNDERSTUDY_URL, else tcp://127.0.0.1:5577.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, for programs.")]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="NAME=TEXT", help="A tag; may be repeated."),
]


def pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """``["a=1", "b=2"]`` as a dict; `option` is for the message if one has no ``=``."""
    found = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} {text!r}: it is written {option} NAME=VALUE")
        found[name] = value
    return found


def seconds(text: str | None, option: str) -> float | None:
    """``"90"``, ``"1.5s"``, ``"500ms"``, ``"10m"``, ``"2h"``, ``"7d"`` in seconds."""
    if text is None:
        return None
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    number = text.rstrip("smhd")
    try:
        value = float(number) * units[text[len(number) :] or "s"]
    except (ValueError, KeyError):
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UsageError(f"{option} {text!r}: it is written as seconds, or as 500ms, 10m, 2h, 7d")
    return value
