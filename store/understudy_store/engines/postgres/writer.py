"""The writer: one start of a broker, and the fence that ends its right to write.

Each start has a row in the table `writer`, with a number that is never used again. A commit writes
nothing unless that row is there, of this session, and not fenced; see the package for why this is
safe.
"""

from __future__ import annotations

import os
import secrets
import socket
from typing import Final, NamedTuple

from understudy_store.engines.base import Share
from understudy_store.engines.postgres.connections import Connection
from understudy_store.engines.postgres.statements import Statements
from understudy_store.errors import StoreError, StoreFencedError, StoreRolledBackError

#: A writer whose pulse is older may be fenced.
LEASE_S: Final = 3.0
#: sessions that a writer may have after its first: those that `next_session` counts
_SESSION_MAX: Final = 2**62


class Writer(NamedTuple):
    """One start of a broker.

    Attributes
    ----------
    id
        Its number, the epoch of its commits.
    session
        The first of its sessions. Each connection that commits has one of its own.
    """

    id: int
    session: int

    @property
    def keys(self) -> dict[str, int]:
        """The parameters that name it in statements."""
        return {"writer": self.id, "session": self.session}


def shown_as(share: Share | None) -> dict[str, str | None]:
    """Return name and address of a writer; one that has the store alone has no address."""
    if share is not None:
        return {"name": share.name, "address": share.address}
    return {"name": f"process {os.getpid()} on {socket.gethostname()}", "address": None}


def register(
    connection: Connection, statements: Statements, share: Share | None, *, has_slots: bool
) -> Writer:
    """Make the row of a new writer, which has not taken anything over yet.

    Parameters
    ----------
    has_slots
        The store's revision is not one from before brokers could share a store.
    """
    session = secrets.randbelow(_SESSION_MAX)
    text = statements.register if has_slots else statements.register_before
    with connection.transaction():
        found = connection.execute(text, {**shown_as(share), "session": session})
        [id_] = found.fetchone() or [0]
        writer = Writer(id_, session)
        connection.execute(statements.first_pulse, writer.keys)
        connection.execute(statements.first_progress, writer.keys)
    return writer


def resign(connection: Connection, statements: Statements, writer: Writer) -> None:
    """Give the store back: whoever opens it next need not wait for a pulse to grow old."""
    with connection.transaction():
        connection.execute(statements.resign, writer.keys)
        connection.execute(statements.stop_pulse, writer.keys)
        connection.execute(statements.forget_progress, {"ids": [writer.id]})


def check_complete(
    connection: Connection, statements: Statements, writer: Writer, acknowledged: int
) -> int:
    """Check that the database has every commit that it acknowledged; return the last that it has.

    Parameters
    ----------
    acknowledged
        The number of the last such commit, read before this call.

    Raises
    ------
    StoreFencedError
        Another broker has taken over.
    StoreRolledBackError
        This database lacks commits: it is one that took the place of the other without them.
    """
    row = connection.execute(statements.last_commit, writer.keys).fetchone()
    if row is None:
        raise _rolled_back(acknowledged)
    fenced, found = row
    if fenced:
        raise fenced_error(writer)
    last = int(found or 0)
    if last < acknowledged:
        raise _rolled_back(acknowledged - last)
    return last


def next_session(
    connection: Connection, statements: Statements, writer: Writer, acknowledged: int
) -> tuple[int, int]:
    """Begin a session: nothing that an earlier one has still under way can be written after this.

    The two statements are one transaction. Between them another broker could take over, and bring
    away the commits that the second looks for. Its own commit also waits for a synchronous standby,
    so a commit that is found here is there as well.

    Returns
    -------
    The session, and the number of the last commit that the database has.

    Raises
    ------
    StoreFencedError, StoreRolledBackError
        As for `check_complete`.
    """
    with connection.transaction():
        row = connection.execute(statements.next_session, writer.keys).fetchone()
        found = check_complete(connection, statements, writer, acknowledged)
        if row is None:
            raise fenced_error(writer)
    return int(row[0]), found


def refusal(
    connection: Connection, statements: Statements, writer: Writer, acknowledged: int
) -> StoreError:
    """Return the reason why a statement of this writer has written nothing."""
    try:
        check_complete(connection, statements, writer, acknowledged)
    except StoreError as error:
        return error
    return fenced_error(writer)


def fenced_error(writer: Writer) -> StoreFencedError:
    """Return the error of a writer that another one has fenced."""
    return StoreFencedError(
        f"another broker has taken over from this one, which was writer {writer.id}"
    )


def _rolled_back(commits: int) -> StoreRolledBackError:
    lost = "its last commit" if commits == 1 else f"its last {max(commits, 1):,} commits"
    return StoreRolledBackError(
        f"the database has lost {lost}, which it had acknowledged: another server has taken the "
        "place of the one that had them, or it was restored from a backup"
    )
