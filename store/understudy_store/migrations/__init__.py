"""Changes of the schema, in order; each is final once released. Run when a store is opened.

alembic is heavy and almost never needed: which revision a store has is read by a plain SELECT, and
alembic is imported only to migrate.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: every revision, oldest first
REVISIONS: Final = ("0001", "0002")
HEAD: Final = REVISIONS[-1]
#: where alembic keeps the revision
VERSION_TABLE: Final = "alembic_version"


def upgrade(connection: Connection) -> None:
    """Bring the schema to `HEAD`, within the transaction that `connection` is in."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    # Config interpolates percent signs, which a path may hold.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
