"""The takeover: what a writer committed comes to the tables, and its slots to others.

All of it happens in the transaction of whoever calls, who has fenced the writer in it before and
has locked its own row first: a writer that is fenced itself must take nothing. See the package for
why that is safe.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from msgspec import MsgspecError
from psycopg.errors import InsufficientPrivilege

from understudy_store.engines.journaled.memtable import Memtable
from understudy_store.engines.journaled.replay import replayed
from understudy_store.engines.postgres.connections import Connection
from understudy_store.engines.postgres.packing import unpacked
from understudy_store.engines.postgres.rows_writer import write_memtable
from understudy_store.engines.postgres.statements import Statements
from understudy_store.errors import StoreFormatError
from understudy_store.slots import shared_out

#: how long a takeover waits for a session of the earlier broker before it ends that one again
LOCK_MS: Final = 1000


def session_name(schema: str, writer: int) -> str:
    """Return the name that the server shows for the connections of a writer."""
    return f"understudy/{schema}/{writer}"


def end_sessions(
    connection: Connection, statements: Statements, schema: str, writers: Sequence[int]
) -> None:
    """End the sessions of earlier brokers: paused, one could hold its lock for hours.

    The fence does not depend on this, and the sessions of another role may not be ended.
    """
    names = [session_name(schema, id_) for id_ in writers]
    with suppress(InsufficientPrivilege), connection.transaction():
        connection.execute(statements.end_sessions, {"names": names})


def bring_in(
    connection: Connection, statements: Statements, name: str, writers: Sequence[int]
) -> None:
    """Bring the commits of fenced writers from the journal to the tables.

    It is a statement after that of the fence, and therefore sees whatever was committed before it.

    Parameters
    ----------
    name
        Of the store, for errors.

    Raises
    ------
    StoreFormatError
        The journal is damaged.
    """
    ids = {"ids": list(writers)}
    memtable = _left(connection, statements, name, writers)
    if memtable:
        connection.execute(statements.make_given)
        write_memtable(connection, statements, memtable)
    for text in (statements.forget_journals, statements.forget_pulses, statements.forget_progress):
        connection.execute(text, ids)


def _left(
    connection: Connection, statements: Statements, name: str, writers: Sequence[int]
) -> Memtable:
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(statements.left_in_journal, {"ids": list(writers)}).fetchall()
    records: list[bytes] = []
    last = (0, 0)
    for id_, applied, number, data in rows:
        before = last[1] if last[0] == id_ else applied
        if number != before + 1:
            raise StoreFormatError(
                f"the journal of the store {name} lacks commit {before + 1} of writer {id_}: "
                "something else than a broker has changed it. Restore the database from a backup"
            )
        last = (id_, number)
        records.append(data)
    try:
        return replayed(map(unpacked, records))
    except (MsgspecError, UnicodeDecodeError, zlib.error) as error:
        raise StoreFormatError(
            f"the journal of the store {name} is damaged: {error}. Restore the database from a "
            "backup"
        ) from error


def give_orphans(connection: Connection, statements: Statements) -> None:
    """Give the slots of nobody, and of fenced writers, to the brokers that live.

    Without any, they become nobody's.
    """
    receivers = connection.execute(statements.receivers).fetchall()
    orphans = connection.execute(statements.orphans).fetchall()
    if receivers:
        places = shared_out([name for _, name in receivers])
        moves = [(slot, receivers[places[slot]][0]) for slot, _ in orphans]
    else:
        moves = [(slot, None) for slot, owner in orphans if owner is not None]
    if moves:
        slots, writers = zip(*moves, strict=True)
        connection.execute(
            statements.give_orphans, {"slots": list(slots), "writers": list(writers)}
        )
