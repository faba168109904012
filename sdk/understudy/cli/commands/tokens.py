"""``understudy tokens``: the tokens that an edge takes, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.printing import err, out

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

File = Annotated[
    Path,
    typer.Option(
        "--file",
        metavar="FILE",
        envvar="UNDERSTUDY_EDGE__TOKENS",
        show_envvar=False,
        help="The file of the tokens. [default: UNDERSTUDY_EDGE__TOKENS, else tokens.toml]",
        show_default=False,
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose it is, such as team-b/ci.")]
Expires = Annotated[
    str | None,
    typer.Option(
        metavar="DATE", help="The first day on which it is not taken, in UTC: 2027-01-01."
    ),
]
Print = Annotated[
    bool,
    typer.Option(
        "--print", help="Print the lines for the file to standard error, and change no file."
    ),
]
_FILE = Path("tokens.toml")


@app.callback()
def tokens() -> None:
    """Make the tokens that an edge takes, and check their file.

    An edge with --tokens FILE serves only requests with a token: one that was made here, or a JWT
    of an issuer that the file names. It reads the file again within a second when it changes.

    \b
    Example:
      understudy tokens new team-b/ci > ci.token
      understudy edge --tokens tokens.toml
      curl -H "Authorization: Bearer $(cat ci.token)" http://127.0.0.1:8001/groups
    """


@app.command()
def new(name: Name, file: File = _FILE, expires: Expires = None, print_lines: Print = False) -> int:
    """Make a token, print it once, and let edges take it.

    Only its hash is kept in the file, which is made if it is missing. Whoever has the token acts as
    NAME. To take it back, remove its lines from the file.

    \b
    Examples:
      understudy tokens new team-b/ci > ci.token
      understudy tokens new team-b/ci --expires 2027-01-01 > ci.token

    Exits with 1 if NAME has a token already, or if others can change the file.
    """
    import secrets

    from understudy.cli.commands.keys import parse_date
    from understudy.cli.errors import CliError
    from understudy.edge.tokens.bearer import sha256
    from understudy.edge.tokens.rules import RulesError, StaticToken
    from understudy.edge.tokens.rules_text import lines_of, with_token
    from understudy.edge.tokens.token_file import change

    token = f"us_{secrets.token_urlsafe(32)}"
    expires_ms = parse_date(expires)
    expires_at = None if expires_ms is None else expires_ms / 1000
    made = StaticToken(name, sha256(token), expires_at)
    try:
        if print_lines:
            with_token("", made)  # the name may be none
        else:
            change(file, lambda text: with_token(text, made))
    except RulesError as error:
        raise CliError(str(error)) from None
    if print_lines:
        err(lines_of(made).rstrip())
    else:
        err(f"{name} is in {file}; the token, which is shown only now:")
    out(token)
    return 0


@app.command()
def check(file: File = _FILE) -> int:
    """Check a file of tokens as an edge would.

    \b
    Example:
      understudy tokens check --file tokens.toml

    Exits with 1 if an edge would refuse it.
    """
    from understudy.cli.errors import CliError
    from understudy.edge.tokens.gate import load
    from understudy.edge.tokens.rules import RulesError

    try:
        rules = load(file).rules
    except RulesError as error:
        raise CliError(str(error)) from None
    parts = (len(rules.tokens), "token"), (len(rules.issuers), "issuer"), (len(rules.maps), "map")
    counts = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in parts)
    out(f"{file} is right: {counts}")
    return 0
