"""The URL of a store over PostgreSQL: what libpq takes, and the schema that holds the tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final, NamedTuple
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from understudy_store.errors import StoreAddressError

SCHEMA: Final = "understudy"
#: Unquoted identifiers only, and so short that the name of a connection that has them is not cut.
_SCHEMA: Final = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,31}").fullmatch
#: A connection over which nothing comes is asked for a sign of life after this time, again and
#: again, and is given up after so many times in vain.
KEEPALIVE_IDLE_S: Final = 5
KEEPALIVE_INTERVAL_S: Final = 3
KEEPALIVE_COUNT: Final = 3
#: Parameters that a URL may set otherwise. A host that is gone without a word is noticed after
#: seconds and not hours, and of several hosts the one is taken that accepts writes.
_DEFAULTS: Final = {
    "connect_timeout": "5",
    "keepalives_idle": str(KEEPALIVE_IDLE_S),
    "keepalives_interval": str(KEEPALIVE_INTERVAL_S),
    "keepalives_count": str(KEEPALIVE_COUNT),
    "tcp_user_timeout": "15000",
    "target_session_attrs": "read-write",
}


class Address(NamedTuple):
    """A database and a schema in it.

    Attributes
    ----------
    conninfo
        The parameters for libpq. They may hold a password.
    schema
        The name of the schema.
    name
        The same for people, without the password.
    has_others
        It names several servers, of which one takes writes.
    """

    conninfo: str
    schema: str
    name: str
    has_others: bool


def parse(url: str) -> Address:
    """Return the address that a URL names.

    Parameters
    ----------
    url
        ``postgresql://user:password@host:port/database?schema=understudy``, with whatever else
        libpq knows. Several hosts are separated by commas.

    Raises
    ------
    StoreAddressError
        It is no such URL. The text does not repeat it, because it may hold a password.
    """
    base, _, query = url.partition("?")
    pairs = [pair for pair in query.split("&") if pair]
    schemas = [unquote(pair.partition("=")[2]) for pair in pairs if pair.startswith("schema=")]
    rest = "&".join(pair for pair in pairs if not pair.startswith("schema="))
    schema = schemas[-1] if schemas else SCHEMA
    if not _SCHEMA(schema):
        raise StoreAddressError(
            f"{schema!r} cannot be the schema of a store: use up to 32 characters of a-z, 0-9 and "
            "'_', beginning with a letter or '_', and not with 'pg_'"
        )
    try:
        given = conninfo_to_dict(f"{base}?{rest}" if rest else base)
    except psycopg.ProgrammingError:
        raise _unknown_parameter(query) or _unreadable() from None
    ports = str(given.get("port", ""))
    # A password with a '/' or '@' in plain spelling ends up in these.
    if re.search(r"[^0-9,]", ports) or "@" in str(given.get("dbname", "")):
        raise _unreadable()
    conninfo = make_conninfo("", **{**_DEFAULTS, **given, "client_encoding": "UTF8"})
    has_others = "," in str(given.get("host", "") or "")
    return Address(conninfo, schema, _name(given, schema), has_others)


def _unknown_parameter(query: str) -> StoreAddressError | None:
    """Return the error that names the parameter that libpq does not take; None: it is not that."""
    if "@" in query:
        return None  # It may be the rest of a password with a '?' in plain spelling.
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    for pair in query.split("&"):
        name, equals, _ = pair.partition("=")
        name = unquote(name)
        if pair and not equals:
            return StoreAddressError(
                f"the parameter {name!r} in the URL of the PostgreSQL store has no value: write "
                f"{name}=VALUE"
            )
        if pair and name not in known and name != "schema":
            similar = get_close_matches(name, [*known, "schema"], 1)
            advice = f"; similar: {similar[0]!r}" if similar else ""
            return StoreAddressError(
                f"the URL of the PostgreSQL store has an unknown parameter, {name!r}{advice}. "
                "After the '?' it takes schema=NAME, and the parameters of libpq, such as sslmode"
            )
    return None


def _unreadable() -> StoreAddressError:
    return StoreAddressError(
        "the URL of the PostgreSQL store cannot be read. It is "
        "postgresql://user:password@host:port/database, followed by '?' and parameters of libpq if "
        "need be; in user and password, write '/', '@', ':', '?', '#', '%' and spaces as %2F, %40, "
        "%3A, %3F, %23, %25 and %20"
    )


def _name(given: Mapping[str, object], schema: str) -> str:
    user = f"{given['user']}@" if "user" in given else ""
    hosts = str(given.get("host", "") or "").split(",")
    ports = str(given.get("port", "") or "").split(",")
    if len(ports) < len(hosts):
        ports = ports[:1] * len(hosts)
    where = ",".join(
        f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=False)
    )
    shown = "" if schema == SCHEMA else f"?schema={schema}"
    return f"postgresql://{user}{where}/{given.get('dbname', '')}{shown}"
