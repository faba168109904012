"""Grants: the tables ``[role.…]`` of ``rights.toml``, which say what identities may do. Pure.

    [role.team-a]
    serve    = ["a-*"]                  # be a node of these groups, and take their tasks
    call     = ["a-*", "mail"]          # make calls to these groups
    ids      = ["a/", "shared/orders/"] # create, read and watch what has an id that begins so
    settle   = ["a/"]                   # resolve and reject promises with such ids
    cancel   = ["a/"]                   # cancel calls and promises with such ids
    search   = ["a/"]                   # search among such ids
    schedule = ["a/"]                   # create, read and delete schedules with such ids
    admin    = ["halt", "continue"]     # the commands of operators, each by its name
    edge     = ["team-a/*"]             # be an edge, and ask for these identities
    limits   = { commands = 2000 }      # see `quota`

Nothing is permitted that no role permits. A group or an identity is a name, or the beginning of
names before a ``*``; an id is given by its beginning. ``"*"`` stands for all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from understudy_broker.keys.errors import RightsError
from understudy_broker.keys.quota import NO_QUOTA, Quota, parse_quota

#: the commands of operators that a role may name in `admin`
ADMIN_COMMANDS: Final = ("groups", "tasks", "halt", "continue", "retry", "purge", "pause")
#: entries in one list of a role, and characters of one of them
ENTRIES_MAX: Final = 1_000
ENTRY_CHARS_MAX: Final = 255


class Names(NamedTuple):
    """A set of names: some one by one, and all that begin in some way.

    Examples
    --------
    >>> names = Names(frozenset({"mail"}), ("a-",))
    >>> names.has("mail"), names.has("a-orders"), names.has("mail-2")
    (True, True, False)
    """

    exact: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    def has(self, name: str) -> bool:
        """Return whether a name is one of them."""
        return name in self.exact or name.startswith(self.prefixes)

    def has_all(self, prefix: str) -> bool:
        """Return whether all names that begin with `prefix` are among them."""
        return prefix.startswith(self.prefixes)

    def __or__(self, other: Names) -> Names:
        prefixes = dict.fromkeys((*self.prefixes, *other.prefixes))
        return Names(self.exact | other.exact, tuple(prefixes))

    def __bool__(self) -> bool:
        return bool(self.exact or self.prefixes)


NO_NAMES: Final = Names()
#: the fields of a role whose entries are names, perhaps with a star, and those with beginnings
_PATTERNS: Final = ("serve", "call", "edge")
_PREFIXES: Final = ("ids", "settle", "cancel", "search", "schedule")
RIGHTS: Final = (*_PATTERNS[:2], *_PREFIXES, "edge", "admin")


class Grant(NamedTuple):
    """The rights of one identity, by all of its roles. The fields are those of a role."""

    serve: Names = NO_NAMES
    call: Names = NO_NAMES
    ids: Names = NO_NAMES
    settle: Names = NO_NAMES
    cancel: Names = NO_NAMES
    search: Names = NO_NAMES
    schedule: Names = NO_NAMES
    edge: Names = NO_NAMES
    admin: frozenset[str] = frozenset()
    limits: Quota = NO_QUOTA

    def __or__(self, other: Grant) -> Grant:
        return Grant(
            self.serve | other.serve,
            self.call | other.call,
            self.ids | other.ids,
            self.settle | other.settle,
            self.cancel | other.cancel,
            self.search | other.search,
            self.schedule | other.schedule,
            self.edge | other.edge,
            self.admin | other.admin,
            self.limits | other.limits,
        )


#: for an identity without roles
NOTHING: Final = Grant()
_ALL: Final = Names(prefixes=("",))
#: for brokers among each other
EVERYTHING: Final = Grant(_ALL, _ALL, _ALL, _ALL, _ALL, _ALL, _ALL, _ALL, frozenset(ADMIN_COMMANDS))


def parse_role(name: str, table: Any) -> Grant:
    """Read a table ``[role.NAME]``.

    Raises
    ------
    RightsError
        Something in it is unknown or wrong.

    Examples
    --------
    >>> parse_role("team-a", {"serve": ["a-*"], "ids": ["a/"]}).serve.has("a-orders")
    True
    """
    if not isinstance(table, dict):
        raise RightsError(f"role {name!r}: write a table [role.{name}]")
    for field in table:
        if field not in RIGHTS and field != "limits":
            raise RightsError(
                f"role {name!r}: {field} is no right; there are {', '.join(RIGHTS)}, and limits"
            )
    fields: dict[str, Any] = {}
    for field in _PATTERNS:
        fields[field] = _names(name, field, table, is_pattern=True)
    for field in _PREFIXES:
        fields[field] = _names(name, field, table, is_pattern=False)
    admin = _entries(name, "admin", table)
    for entry in admin:
        if entry not in ADMIN_COMMANDS and entry != "*":
            raise RightsError(
                f"role {name!r}: admin: {entry!r} is no command of operators; there are "
                f"{', '.join(ADMIN_COMMANDS)}, and * for all"
            )
    fields["admin"] = frozenset(ADMIN_COMMANDS if "*" in admin else admin)
    fields["limits"] = parse_quota(name, table.get("limits", {}))
    return Grant(**fields)


def joined(grants: Iterable[Grant]) -> Grant:
    """Return what any of `grants` permits."""
    result = NOTHING
    for grant in grants:
        result = result | grant
    return result


def _names(role: str, field: str, table: dict[str, Any], *, is_pattern: bool) -> Names:
    exact: set[str] = set()
    prefixes: dict[str, None] = {}
    for entry in _entries(role, field, table):
        text = entry.removesuffix("*")
        if "*" in text or (text != entry and text and not is_pattern):
            what = "only at the end" if is_pattern else 'only alone, as "*": an id is given by its '
            what += "" if is_pattern else "beginning"
            raise RightsError(f"role {role!r}: {field}: {entry!r}: a * may stand {what}")
        if is_pattern and text == entry:
            exact.add(entry)
        else:
            prefixes[text] = None
    return Names(frozenset(exact), tuple(prefixes))


def _entries(role: str, field: str, table: dict[str, Any]) -> list[str]:
    entries = table.get(field, [])
    if not isinstance(entries, list) or not all(isinstance(each, str) for each in entries):
        raise RightsError(f'role {role!r}: {field} is a list of texts, as ["a"]')
    if len(entries) > ENTRIES_MAX:
        raise RightsError(
            f"role {role!r}: {field} has {len(entries)} entries; at most {ENTRIES_MAX} are taken"
        )
    for entry in entries:
        if not 1 <= len(entry) <= ENTRY_CHARS_MAX:
            raise RightsError(
                f"role {role!r}: {field}: an entry has 1 to {ENTRY_CHARS_MAX} characters; "
                'write "*" for all'
            )
    return entries
