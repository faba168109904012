"""The file ``tokens.toml``: which tokens are taken, and whose they are. Pure.

    [token."team-b/ci"]                      # the identity
    sha256 = "2c26b46b68ffc68ff99b453c1d…"   # of the token; or a list, while it is being replaced
    expires = 2027-01-01                     # may be left out; from that day in UTC on

    [issuer."https://login.example"]         # the claim iss, exactly
    audience = "understudy"                  # must be in the claim aud
    jwks = "login.example.json"              # may be left out: the issuer publishes its keys
    claim = "sub"                            # may be left out; what a map looks at if it says none

    [[map]]                                  # the first one that fits says who it is
    issuer = "https://login.example"
    claim = "groups"
    value = "web-team"
    identity = "team-a/web"

The file is read whole or not at all: whatever is not understood is an error, because a rule that is
written and not obeyed is worse than none.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from ipaddress import ip_address
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from understudy.errors import ConfigurationError
from understudy_broker.keys.errors import RightsError
from understudy_broker.keys.rights import check_identity

#: tokens of one identity that may be taken at a time
HASHES_MAX: Final = 8
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_TOKEN_FIELDS: Final = ("sha256", "expires")
_ISSUER_FIELDS: Final = ("audience", "jwks", "claim")
_MAP_FIELDS: Final = ("issuer", "claim", "value", "identity")


class RulesError(ConfigurationError):
    """The file of tokens is wrong; the message says where."""


class StaticToken(NamedTuple):
    """A token of the file's own.

    Attributes
    ----------
    sha256
        The hash of it, in hexadecimal digits.
    expires_at
        When it is no longer taken, epoch seconds; None: never.
    """

    identity: str
    sha256: str
    expires_at: float | None = None


class Issuer(NamedTuple):
    """Somebody whose JWTs are taken.

    Attributes
    ----------
    name
        What the claim ``iss`` is.
    audience
        What must be in the claim ``aud``.
    jwks
        The path of a file with its keys, as it is written; None: it publishes them.
    """

    name: str
    audience: str
    jwks: str | None = None


class Map(NamedTuple):
    """A rule that gives JWTs an identity, if their claim is the value, or a list that has it."""

    issuer: str
    claim: str
    value: str
    identity: str

    def fits(self, issuer: str, claims: Mapping[str, Any]) -> bool:
        """Return whether claims of an issuer are meant."""
        found = claims.get(self.claim)
        values = found if isinstance(found, list) else [found]
        return issuer == self.issuer and self.value in values


class Rules(NamedTuple):
    """The tokens that are taken, and the identities that they have."""

    tokens: tuple[StaticToken, ...] = ()
    issuers: Mapping[str, Issuer] = {}
    maps: tuple[Map, ...] = ()

    def identity_of(self, issuer: str, claims: Mapping[str, Any]) -> str | None:
        """Return whose the claims of an issuer are; None: nobody's."""
        return next((each.identity for each in self.maps if each.fits(issuer, claims)), None)


def parse_rules(text: str) -> Rules:
    """Read the text of a file.

    Raises
    ------
    RulesError
        It is no TOML, or something in it is unknown or wrong.

    Examples
    --------
    >>> rules = parse_rules(f'[token."team-b/ci"]\\nsha256 = "{64 * "0"}"')
    >>> rules.tokens[0].identity
    'team-b/ci'
    """
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RulesError(f"it is not valid TOML: {error}") from None
    for name in sorted(raw.keys() - {"token", "issuer", "map"}):
        raise RulesError(f"{name}: unknown; there are tables [token], [issuer] and [[map]]")
    tokens = [
        token
        for name, table in _tables(raw, "token").items()
        for token in _tokens(_identity(name, f"token {name!r}"), table)
    ]
    hashes = [token.sha256 for token in tokens]
    for token in tokens:
        if hashes.count(token.sha256) > 1:
            raise RulesError(f"token {token.identity!r}: its sha256 is there twice")
    tables = _tables(raw, "issuer")
    issuers = {name: _issuer(name, table) for name, table in tables.items()}
    claims = {name: table.get("claim", "sub") for name, table in tables.items()}
    maps = raw.get("map", [])
    if not isinstance(maps, list):
        raise RulesError("map: write a table [[map]] for each")
    found = tuple(_map(number, table, claims) for number, table in enumerate(maps, 1))
    for name in issuers:
        if not any(each.issuer == name for each in found):
            raise RulesError(
                f"issuer {name!r}: no [[map]] says whose its tokens are, so nobody would get in"
            )
    return Rules(tuple(tokens), issuers, found)


def is_safe_url(url: str) -> bool:
    """Return whether keys may be fetched from there: by HTTPS, or from this machine.

    Examples
    --------
    >>> is_safe_url("https://login.example/keys"), is_safe_url("http://login.example/keys")
    (True, False)
    >>> is_safe_url("http://127.0.0.1:8080")
    True
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    is_plain = url.isascii() and url.isprintable() and " " not in url
    if not host or not is_plain or parts.username is not None or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_here(host))


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tables(raw: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    tables = raw.get(kind, {})
    if not isinstance(tables, dict) or not all(isinstance(each, dict) for each in tables.values()):
        raise RulesError(f'{kind}: write a table [{kind}."NAME"] for each')
    return tables


def _check_fields(where: str, table: Mapping[str, Any], fields: tuple[str, ...]) -> None:
    for field in sorted(table.keys() - set(fields)):
        raise RulesError(f"{where}: {field} is unknown; there are {', '.join(fields)}")


def _identity(name: Any, where: str) -> str:
    if not isinstance(name, str):
        raise RulesError(f"{where}: identity is missing, or no text")
    try:
        return check_identity(name)
    except RightsError as error:
        raise RulesError(f"{where}: {error}") from None


def _text(where: str, table: Mapping[str, Any], field: str) -> str:
    value = table.get(field)
    if not isinstance(value, str) or not value:
        raise RulesError(f"{where}: {field} is missing, or no text")
    return value


def _tokens(identity: str, table: Mapping[str, Any]) -> list[StaticToken]:
    where = f"token {identity!r}"
    _check_fields(where, table, _TOKEN_FIELDS)
    given = table.get("sha256")
    hashes: list[Any] = given if isinstance(given, list) else [given]
    are_hashes = all(isinstance(each, str) and _SHA256.fullmatch(each) for each in hashes)
    if not hashes or len(hashes) > HASHES_MAX or not are_hashes:
        raise RulesError(
            f"{where}: sha256 is 64 digits 0-9 and a-f, as understudy tokens new writes them, or a "
            f"list of up to {HASHES_MAX} of them"
        )
    expires_at = _time(where, table.get("expires"))
    return [StaticToken(identity, each, expires_at) for each in hashes]


def _time(where: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise RulesError(f"{where}: expires needs a zone, as 2027-01-01T12:00:00Z")
        return value.timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    raise RulesError(f"{where}: expires is a date, as 2027-01-01 without quotes")


def _issuer(name: str, table: Mapping[str, Any]) -> Issuer:
    where = f"issuer {name!r}"
    _check_fields(where, table, _ISSUER_FIELDS)
    audience = _text(where, table, "audience")
    if "claim" in table:
        _text(where, table, "claim")
    jwks = _text(where, table, "jwks") if "jwks" in table else None
    if jwks is None and (not is_safe_url(name) or "?" in name):
        raise RulesError(
            f"{where}: it is no https:// address at which its keys could be found; give them as a "
            "file with jwks"
        )
    return Issuer(name, audience, jwks)


def _map(number: int, table: Any, claims: Mapping[str, str]) -> Map:
    where = f"map {number}"
    if not isinstance(table, dict):
        raise RulesError("map: write a table [[map]] for each")
    _check_fields(where, table, _MAP_FIELDS)
    issuer = _text(where, table, "issuer")
    if issuer not in claims:
        raise RulesError(f'{where}: there is no table [issuer."{issuer}"]')
    claim = _text(where, table, "claim") if "claim" in table else claims[issuer]
    value = _text(where, table, "value")
    return Map(issuer, claim, value, _identity(table.get("identity"), where))
