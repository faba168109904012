"""Advice about a database that refuses something, or is away. Pure; each text is a sentence."""

from __future__ import annotations

from typing import Final

AWAY: Final = (
    "Start the database, or fix the connection to it (host, port, firewall, DNS); a broker that is "
    "started waits for it"
)
#: The server answers, and makes no connection. It says why in a language of its own.
REFUSED: Final = (
    "Check user, password and database in the store's URL, pg_hba.conf on the server, and whether "
    "it has connections left (max_connections, and the limits of the role and the database)"
)
FULL: Final = (
    "Raise max_connections on the server, or the limit of the role or the database, or end "
    "sessions of others: a broker has four, and some more for a moment when it starts"
)
READ_ONLY: Final = (
    "The server takes no writes: it is a standby now, or was made read only, as services do when "
    "its disk is full. Name all hosts in the store's URL, so that the one that takes writes is "
    "found; or have this one take writes again"
)
ELSE: Final = "Fix what the server names"

#: by SQLSTATE, or by the class that its first two characters are
_BY_STATE: Final = {
    "08": AWAY,
    "22": "A value was refused that the store had accepted: report this as a bug",
    "25006": READ_ONLY,
    "28": REFUSED,
    "3D": REFUSED,
    "3F": "The schema of the store is gone: restore the database from a backup",
    "42501": "Give the role of the store the right to do this: it must own the schema, or have "
    "CREATE on the database, to make one",
    "42P01": "A table of the store is gone: restore the database from a backup",
    "53100": "Make room on the disk of the database",
    "53200": "Give the database's server more memory",
    "53300": FULL,
    "57P": AWAY,
    "58": "The disk of the database fails, or lacks a file: see the server's log",
    "XX001": "The database is damaged: see the server's log, and restore it from a backup",
    "XX002": "An index of the database is damaged: see the server's log, and REINDEX the schema",
}
#: a server that takes no more connections, in its own words, because libpq does not pass on the
#: SQLSTATE of a connection that failed
_FULL_TEXTS: Final = ("too many clients", "too many connections", "remaining connection slots")


def advice_for(state: str | None) -> str:
    """Return what to do about an error of a statement.

    Parameters
    ----------
    state
        Its SQLSTATE; None: the connection was lost, or could not be made.

    Examples
    --------
    >>> advice_for("53100")
    'Make room on the disk of the database'
    """
    if state is None:
        return AWAY
    for length in (5, 3, 2):
        found = _BY_STATE.get(state[:length])
        if found is not None:
            return found
    return ELSE


def means_full(text: str) -> bool:
    """Return whether a server has refused a connection because it has too many, as far as it says.

    Examples
    --------
    >>> means_full("FATAL:  sorry, too many clients already")
    True
    """
    return any(each in text for each in _FULL_TEXTS)
