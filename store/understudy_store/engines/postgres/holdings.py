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
    beaten
        False if the writer is fenced.
    dead
        Writers whose pulse is older than the lease, and that nobody has fenced.
    """

    beaten: bool
    holdings: Holdings
    dead: tuple[int, ...]


def read_holdings(connection: Connection, statements: Statements) -> Holdings:
    """Read all of it, as of one moment."""
    row = connection.execute(statements.holdings).fetchone()
    assert row is not None
    version, brokers, owners = row
    return _holdings(version, brokers, owners)


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
    beats, version, brokers, owners, dead = row
    holdings = _holdings(version, brokers, known.slots if owners is None else owners)
    return Look(beats == 1, holdings, tuple(dead or ()))


def _holdings(version: int, brokers: _Brokers, owners: Sequence[int | None]) -> Holdings:
    listed = tuple((int(id_), name, address) for id_, name, address in brokers or ())
    return Holdings(int(version), listed, tuple(owners))
