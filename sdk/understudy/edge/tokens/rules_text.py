"""Changes of the text of ``tokens.toml``, which people write in as well. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from understudy.edge.tokens.rules import Rules, RulesError, StaticToken, parse_rules

#: a file without tokens
TEMPLATE: Final = """\
# The tokens that an edge takes. It reads this file again when it changes; if something in it is
# wrong, the file before stays in force, and the edge's log says why. To try it first:
# understudy tokens check
#
# [issuer."https://login.example"]     # the claim iss of its JWTs, exactly
# audience = "understudy"              # must be in their claim aud
#
# [[map]]                              # whose they are: the first one that fits
# issuer = "https://login.example"
# claim = "groups"
# value = "web-team"
# identity = "team-a/web"
"""


def with_token(text: str, token: StaticToken) -> str:
    """Return the text with one token more.

    Raises
    ------
    RulesError
        The text is wrong, the identity has a token already, or its name is none.
    """
    rules = parse_rules(text)
    if any(each.identity == token.identity for each in rules.tokens):
        raise RulesError(
            f"token {token.identity!r} is there already. To replace it, add the sha256 of another "
            "one to a list: understudy tokens new NAME --print"
        )
    after = f"{text.rstrip()}\n\n{lines_of(token)}".lstrip("\n")
    expected = Rules((*rules.tokens, token), rules.issuers, rules.maps)
    if parse_rules(after) != expected:
        raise RulesError("the text would say something else than what is meant")
    return after


def lines_of(token: StaticToken) -> str:
    """Return the table of a token."""
    lines = [f'[token."{token.identity}"]', f'sha256 = "{token.sha256}"']
    if token.expires_at is not None:
        lines.append(f"expires = {datetime.fromtimestamp(token.expires_at, UTC).date()}")
    return "\n".join(lines) + "\n"
