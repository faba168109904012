"""The holdings as the database has them: which writer has which slots, and which writers live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from understudy_store.engines.postgres.connections import Connection
from understudy_store.engines.postgres.statements import Statements
from understudy_store.engines.postgres.writer import Writer
from understudy_store.engines.shared import Holdings

_Brokers: TypeAlias = Sequence[Sequence[str]] | None


class Look(NamedTuple):
    """One look of a broker at the others, which is also its sign of life.

    Attributes
    ----------
    time_ns
        What the clock of the database showed, nanoseconds of the epoch.
    beaten
        False if the writer is fenced.
    dead
        Writers whose pulse is older than the lease, and that nobody has fenced.
    """

    time_ns: int
    beaten: bool
    holdings: Holdings
    dead: tuple[int, ...]


def read_holdings(connection: Connection, statements: Statements) -> tuple[Holdings, Sequence[int]]:
    """Read all of it, as of one moment, and the epoch of each slot.

    Not in a transaction that has moved slots: another one could be about to. Of states that are
    committed, two with the same version are the same.
    """
    row = connection.execute(statements.holdings).fetchone()
    assert row is not None
    version, brokers, owners, epochs = row
    return _holdings(version, brokers, owners), epochs


def look(
    connection: Connection, statements: Statements, writer: Writer, known: Holdings, lease_s: float
) -> Look:
    """Beat, and look at the others as of that moment.

    Parameters
    ----------
    known
        The holdings as last read: their slots are read again only if they have changed.
    """
    values = {"writer": writer.id, "known": known.version, "lease": lease_s}
    row = connection.execute(statements.look, values, prepare=True).fetchone()
    assert row is not None
    time_ns, beats, version, brokers, owners, dead = row
    holdings = _holdings(version, brokers, known.slots if owners is None else owners)
    return Look(int(time_ns), beats == 1, holdings, tuple(dead or ()))


def _holdings(version: int, brokers: _Brokers, owners: Sequence[int | None]) -> Holdings:
    listed = tuple((int(id_), name, address) for id_, name, address in brokers or ())
    return Holdings(int(version), listed, tuple(owners))
