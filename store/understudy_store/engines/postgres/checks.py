"""Checks of a server: its settings are looked at when a store is opened.

Each refusal names the setting, why the store needs it, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from understudy_store.engines.postgres.connections import Connection
from understudy_store.errors import StoreAccessError, StoreError

#: 14.0
VERSION_MIN: Final = 140_000

_SETTINGS: Final = (
    "select current_setting('transaction_isolation'), current_setting('synchronous_commit'), "
    "current_setting('fsync'), current_setting('synchronous_standby_names'), "
    "current_setting('server_encoding'), pg_is_in_recovery(), "
    "current_setting('transaction_read_only')"
)


def check_server(connection: Connection, name: str, tell: Callable[[str], object]) -> None:
    """Check that commits on this server last, and that its fence holds.

    Parameters
    ----------
    name
        Of the database, for the texts.
    tell
        Called with what is allowed but ought to be known.

    Raises
    ------
    StoreError
        A setting makes the server unfit.
    """
    if connection.info.server_version < VERSION_MIN:
        raise StoreError(
            f"the database {name} is PostgreSQL {connection.info.server_version // 10_000}; a "
            f"store needs {VERSION_MIN // 10_000} or newer: upgrade the server"
        )
    found = connection.execute(_SETTINGS).fetchone()
    assert found is not None
    isolation, commit, fsync, standbys, encoding, in_recovery, read_only = found
    if in_recovery or read_only == "on":
        raise _read_only(name, in_recovery=in_recovery)
    _check_settings(name, isolation, commit, fsync, encoding)
    if not standbys.strip():
        tell(
            f"the database {name} has no synchronous standby (synchronous_standby_names is empty): "
            "what it acknowledges is on its own disk, and is lost with it. A standby that is "
            "promoted may lack the last calls"
        )


def is_standby(connection: Connection) -> bool:
    """Return whether a server follows another one, which takes the writes."""
    return connection.execute("select pg_is_in_recovery()").fetchone() == (True,)


def _check_settings(name: str, isolation: str, commit: str, fsync: str, encoding: str) -> None:
    if isolation != "read committed":
        raise StoreError(
            f"transactions on the database {name} are {isolation} although the store has set them "
            "to read committed; so a broker that takes over could miss a commit. Remove what "
            "overrides it (a proxy between the two, most often)"
        )
    if commit in ("off", "local"):
        raise StoreError(
            f"synchronous_commit is {commit} on the database {name}, so it may lose what it has "
            "acknowledged. Set it to 'on' for the role or the database: "
            "ALTER ROLE … SET synchronous_commit = on"
        )
    if fsync != "on":
        raise StoreError(
            f"fsync is {fsync} on the database {name}, so a loss of power destroys it. Set "
            "fsync = on in postgresql.conf and reload the server"
        )
    if encoding != "UTF8":
        raise StoreError(
            f"the database {name} has the encoding {encoding}, which cannot hold every text. Make "
            "one for the store: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


def _read_only(name: str, *, in_recovery: bool) -> StoreAccessError:
    if in_recovery:
        return StoreAccessError(
            f"the database {name} is a standby (in recovery) and takes no writes. Name the "
            "primary, or all hosts separated by commas, or promote this one"
        )
    return StoreAccessError(
        f"the database {name} takes no writes: default_transaction_read_only is on. Set it to off "
        "for the role and the database of the store"
    )
