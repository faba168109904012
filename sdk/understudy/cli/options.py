"""Arguments and options that several commands share, and how their texts are read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from understudy.cli import completion
from understudy.cli.errors import UsageError
from understudy.views.long_integers import unlimited_digits
from understudy_broker.address import DEFAULT_ADDRESS

#: the records that a search lists unless --limit is given
LIMIT: Final = 100

App = Annotated[
    str,
    typer.Argument(
        metavar="APP",
        help="The Runtime to serve, as module:name. The module alone is enough if it has only one.",
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help=f"Address of the broker. [default: UNDERSTUDY_URL, else {DEFAULT_ADDRESS}]",
    ),
]
Store = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Read this SQLite store, or a copy of one, in the place of a broker's answers. It is "
        "not changed; a running broker's file may be a second behind.",
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON, for programs. Times are epoch milliseconds.")
]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="NAME=TEXT", help="A tag. May be repeated."),
]
Limit = Annotated[int, typer.Option(metavar="N", min=1, help="The most records to list.")]
Function = Annotated[
    str, typer.Argument(metavar="FUNC", help="The name that the function is registered under.")
]
Arguments = Annotated[
    list[str] | None,
    typer.Option(
        "--arg",
        metavar="X",
        help="An argument: JSON, or text if it is not JSON; @FILE stands for what a file has, @- "
        "for the standard input. May be repeated.",
    ),
]
NamedArguments = Annotated[
    list[str] | None,
    typer.Option(
        "--kwarg", metavar="NAME=X", help="An argument by name, as for --arg. May be repeated."
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        metavar="GROUP",
        autocompletion=completion.groups,
        help="The group that performs the call. [default: UNDERSTUDY_GROUP, else default]",
    ),
]
JoinGroup = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The group to join. [default: the Runtime's own]",
        autocompletion=completion.groups,
    ),
]


def parse_pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """Convert ``["a=1", "b=2"]`` to a dict.

    Parameters
    ----------
    option
        The option's name, for the message if a text has no ``=``.
    """
    found = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} {text!r} has no name and value: write {option} NAME=VALUE")
        found[name] = value
    return found


def parse_value(text: str) -> Any:
    """Convert JSON to a value; text that is not JSON stays text.

    ``7`` is a number; ``"7"`` in quotes and ``seven`` are texts. ``@values.json`` stands for what a
    file has, ``@-`` for the standard input, and ``@@ann`` for the text ``@ann``: what is written on
    a command line is seen by the other users of the machine, and stays in the shell's history.

    Raises
    ------
    UsageError
        A file cannot be read, or is no text.
    """
    if text.startswith("@@"):
        text = text[1:]
    elif text.startswith("@"):
        text = _content(text[1:])
    try:
        with unlimited_digits():
            return json.loads(text)
    except ValueError:
        return text


def _content(name: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{name!r} is no text in UTF-8: give it as JSON") from None
    except OSError as error:
        raise UsageError(
            f"cannot read {name!r}: {error.strerror}. For a text that begins with @, write @@{name}"
        ) from None
    return text.removesuffix("\n").removesuffix("\r")


def parse_arguments(
    given: list[str] | None, named: list[str] | None
) -> tuple[list[Any], dict[str, Any]]:
    """Convert the texts of ``--arg`` and ``--kwarg`` to positional and named arguments."""
    args = [parse_value(text) for text in given or ()]
    kwargs = {name: parse_value(text) for name, text in parse_pairs(named, "--kwarg").items()}
    return args, kwargs
