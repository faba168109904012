"""The file ``rights.toml``: which public key is whose, until when, and what they may do. Pure.

    [role.team-a]                   # see `grants`
    serve = ["a-*"]

    [identity."team-a/node-1"]
    key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
    expires = 2027-01-01            # from the beginning of that day in UTC on; may be left out
    roles = ["team-a"]              # without a role it may join as a client, and do nothing

    [identity."team-a/web"]         # without a key: an edge asks for it
    roles = ["team-a"]

    old_key = "…"                   # while a key is being replaced: the one before it,
    old_until = 2026-12-01T12:00:00Z  # and how long it is taken as well

Every key is one identity's alone. The file is read whole or not at all: whatever is not understood
is an error, because a rule that is written and not obeyed is worse than none.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple

from understudy_broker.keys.errors import RightsError
from understudy_broker.keys.grants import EVERYTHING, NOTHING, Grant, joined, parse_role
from understudy_broker.keys.public_keys import KEY_CHARS, is_key

#: the identity of the brokers of a deployment among each other; no file may give it away
BROKERS: Final = "understudy/brokers"
NAME_CHARS_MAX: Final = 128
_NAME: Final = re.compile(r"[A-Za-z0-9][\w.@+-]*(/[\w.@+-]+)*", re.ASCII)
_FIELDS: Final = ("key", "expires", "roles", "old_key", "old_until")


class Holder(NamedTuple):
    """The holder of a key.

    Attributes
    ----------
    expires_at
        When the key is no longer taken, epoch milliseconds; None: never.
    is_old
        The key is being replaced by another one.
    """

    identity: str
    key: str
    expires_at: int | None = None
    roles: tuple[str, ...] = ()
    is_old: bool = False

    def is_expired(self, now: int) -> bool:
        """Return whether the key is no longer taken at `now`, epoch milliseconds."""
        return self.expires_at is not None and now >= self.expires_at


class Rights:
    """The holders of keys, and what they may do. Each look-up is one in a dict.

    Parameters
    ----------
    holders
        Their keys are different from each other.
    grants
        What each identity may do, also those without keys.
    roles
        What each role permits.
    granted
        The roles that some identity has.
    """

    def __init__(
        self,
        holders: Iterable[Holder],
        grants: Mapping[str, Grant] | None = None,
        roles: Mapping[str, Grant] | None = None,
        granted: frozenset[str] = frozenset(),
    ) -> None:
        self._by_key = {holder.key: holder for holder in holders}
        self.grants: Mapping[str, Grant] = grants or {}
        self.roles: Mapping[str, Grant] = roles or {}
        self.granted = granted

    def __iter__(self) -> Iterator[Holder]:
        return iter(self._by_key.values())

    def find(self, key: str, now: int) -> Holder | str:
        """Return the holder of a key, or in words why the key is not taken at `now`."""
        holder = self._by_key.get(key)
        if holder is None:
            return "its key is unknown"
        if holder.is_expired(now):
            return f"the key of {holder.identity!r} has expired"
        return holder

    def next_expiry(self, after: int) -> int | None:
        """Return when the next key expires after a time, epoch milliseconds; None: none does."""
        times = (holder.expires_at for holder in self)
        return min((at for at in times if at is not None and at > after), default=None)

    def with_brokers(self, key: str) -> Rights:
        """Return the same with the brokers' own key, by which they reach each other.

        Raises
        ------
        RightsError
            The key is somebody else's as well.
        """
        if key in self._by_key:
            raise RightsError(
                f"identity {self._by_key[key].identity!r}: its key is the broker's own; make one "
                "for it with: understudy keys new"
            )
        grants = {**self.grants, BROKERS: EVERYTHING}
        return Rights([*self, Holder(BROKERS, key)], grants, self.roles, self.granted)


def parse_rights(text: str) -> Rights:
    """Read the text of a file.

    Raises
    ------
    RightsError
        It is no TOML, something in it is unknown or wrong, or two identities have one key.

    Examples
    --------
    >>> key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
    >>> rights = parse_rights(f'[identity."team-a/node-1"]\\nkey = "{key}"')
    >>> rights.find(key, now=0).identity
    'team-a/node-1'
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RightsError(f"it is not valid TOML: {error}") from None
    for name in sorted(raw.keys() - {"identity", "role"}):
        raise RightsError(
            f'{name}: unknown; there are only tables [role.NAME] and [identity."NAME"]'
        )
    role_tables = raw.get("role", {})
    if not isinstance(role_tables, dict):
        raise RightsError("role: write a table [role.NAME] for each")
    roles: dict[str, Grant] = {}
    for name, table in role_tables.items():
        if not _is_name(name):
            raise RightsError(f"role {name!r}: write a name, as team-a")
        roles[name] = parse_role(name, table)
    tables = raw.get("identity", {})
    if not isinstance(tables, dict):
        raise RightsError('identity: write a table [identity."NAME"] for each')
    holders: dict[str, Holder] = {}
    grants: dict[str, Grant] = {}
    for name, table in tables.items():
        grants[name] = joined(_roles_of(name, table, roles))
        for holder in _holders(name, table):
            other = holders.setdefault(holder.key, holder)
            if other is not holder:
                raise RightsError(
                    f"identity {name!r}: its key is that of {other.identity!r}, too; each needs "
                    "one of its own"
                )
    granted = frozenset(role for table in tables.values() for role in table.get("roles", ()))
    return Rights(holders.values(), grants, roles, granted)


def notes_on(rights: Rights) -> list[str]:
    """Return what in a file is right, and probably not meant.

    Examples
    --------
    >>> notes_on(parse_rights('[role.a]\\ncall = ["mail"]'))
    ['role a: no identity has it', 'role a: call: no role may serve the group mail']
    """
    notes = [
        f"identity {name}: it has no role, so it may do nothing"
        for name, grant in rights.grants.items()
        if grant == NOTHING
    ]
    served = joined(rights.roles.values()).serve
    for name, role in rights.roles.items():
        if name not in rights.granted:
            notes.append(f"role {name}: no identity has it")
        notes += [
            f"role {name}: call: no role may serve the group {group}"
            for group in sorted(role.call.exact)
            if not served.has(group)
        ]
    return notes


def check_identity(name: str) -> str:
    """Return the name of an identity.

    Raises
    ------
    RightsError
        It is none.

    Examples
    --------
    >>> check_identity("team-a/node-1")
    'team-a/node-1'
    """
    if not _is_name(name):
        raise RightsError(
            f"identity {name!r}: a name has letters, digits and any of . _ @ + - in parts between "
            f"slashes, and at most {NAME_CHARS_MAX} characters, as in team-a/node-1"
        )
    if name.partition("/")[0] == "understudy":
        raise RightsError(f"identity {name!r}: names that begin with understudy/ are reserved")
    return name


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and len(name) <= NAME_CHARS_MAX and bool(_NAME.fullmatch(name))


def _roles_of(name: str, table: Any, roles: Mapping[str, Grant]) -> list[Grant]:
    """Check the table of an identity but for its keys; return the grants of its roles."""
    check_identity(name)
    if not isinstance(table, dict):
        raise RightsError(f'identity {name!r}: write a table [identity."{name}"]')
    for field in sorted(table.keys() - set(_FIELDS)):
        raise RightsError(f"identity {name!r}: {field} is unknown; there are {', '.join(_FIELDS)}")
    names = table.get("roles", [])
    if not isinstance(names, list) or not all(_is_name(role) for role in names):
        raise RightsError(f'identity {name!r}: roles is a list of names, as ["team-a"]')
    for role in names:
        if role not in roles:
            there = f"there are {', '.join(roles)}" if roles else "there are none"
            raise RightsError(f"identity {name!r}: there is no table [role.{role}]; {there}")
    return [roles[role] for role in names]


def _holders(name: str, table: dict[str, Any]) -> Iterator[Holder]:
    """Yield the holders of an identity's keys; one without keys is asked for by an edge."""
    if not table.keys() & {"key", "old_key", "expires", "old_until"}:
        return
    roles = table.get("roles", [])
    expires_at = _time(name, "expires", table)
    yield Holder(name, _key(name, "key", table), expires_at, tuple(roles))
    if "old_key" in table or "old_until" in table:
        until = _time(name, "old_until", table)
        if until is None:
            raise RightsError(f"identity {name!r}: old_until is missing beside old_key")
        if expires_at is not None:
            until = min(until, expires_at)
        yield Holder(name, _key(name, "old_key", table), until, tuple(roles), is_old=True)


def _key(name: str, field: str, table: dict[str, Any]) -> str:
    key = table.get(field)
    if not isinstance(key, str) or not is_key(key):
        state = "missing" if key is None else "no public key"
        raise RightsError(
            f"identity {name!r}: {field} is {state}; it has {KEY_CHARS} characters, as "
            "understudy keys new prints it"
        )
    return key


def _time(name: str, field: str, table: dict[str, Any]) -> int | None:
    value = table.get(field)
    if value is None:
        return None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise RightsError(f"identity {name!r}: {field} needs a zone, as 2027-01-01T12:00:00Z")
    elif isinstance(value, date):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    else:
        raise RightsError(f"identity {name!r}: {field} is a date, as 2027-01-01 without quotes")
    return int(value.timestamp() * 1000)
