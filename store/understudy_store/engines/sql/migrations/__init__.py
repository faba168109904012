"""Changes of the schema, in order; each is final once released. Run when a store is opened.

alembic is heavy and rarely needed. A plain SELECT reads the revision of a store, a new store is
made from the models, and alembic is imported only to migrate an older one.

Stores of all databases have the same revisions. The first that a PostgreSQL store can have is
`FIRST_POSTGRESQL`, so the revisions after it run on both; one that is about a single database looks
at `op.get_bind().dialect.name`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import insert

from understudy_store.engines.sql.tables import METADATA, Meta, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, MetaData

#: every revision, oldest first
REVISIONS: Final = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0006",
    "0007",
    "0008",
    "0009",
    "0010",
    "0011",
    "0012",
    "0013",
)
HEAD: Final = REVISIONS[-1]
#: the revision in which stores over PostgreSQL begin
FIRST_POSTGRESQL: Final = "0006"
#: the revision from which on a store may be shared by several brokers
FIRST_SHARED: Final = "0008"
#: Revisions that only add: brokers of the revision before go on beside them, and may be started
#: again after them.
ADDITIVE: Final = frozenset({"0008", "0009", "0012"})
#: In the facts of a store, the oldest revision whose brokers can work with its tables: so a program
#: that does not know the latest revisions knows whether it may open the store all the same.
OLDEST_KEY: Final = "oldest"
#: identity of the store, and the number of the last commit in its tables
JOURNALED: Final = (
    "INSERT INTO meta (key, value) VALUES ('store', lower(hex(randomblob(8)))), ('commit', '0')"
)
#: the journal that may have commits that the tables lack: none
NO_JOURNAL: Final = "INSERT INTO meta (key, value) VALUES ('journal', '')"
#: where alembic keeps the revision
VERSION_TABLE: Final = "alembic_version"


def oldest() -> str:
    """Return the oldest revision whose brokers can work with the tables of `HEAD`."""
    place = len(REVISIONS) - 1
    while REVISIONS[place] in ADDITIVE:
        place -= 1
    return REVISIONS[place]


def create(connection: Connection, facts: Mapping[str, str], metadata: MetaData = METADATA) -> None:
    """Make the latest schema in an empty store, within `connection`'s transaction.

    The tests compare it with the schema that all migrations together make.

    Parameters
    ----------
    facts
        The rows of `Meta`.
    metadata
        The tables, where a database needs them in a form of its own.
    """
    metadata.create_all(connection, checkfirst=False)
    connection.execute(
        insert(table(Meta)), [{"key": key, "value": value} for key, value in facts.items()]
    )
    connection.exec_driver_sql(
        f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL, "
        f"CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num))"
    )
    connection.exec_driver_sql(f"INSERT INTO {VERSION_TABLE} VALUES ('{HEAD}')")


def upgrade(connection: Connection) -> None:
    """Bring the schema to `HEAD`, within the transaction that `connection` is in."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    # Config interpolates percent signs, which a path may hold.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
