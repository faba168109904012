"""Retention: how long a call is kept, if its creator says so, and what purges find what is due by.

An older broker would take tombstones for promises, so none may work with these tables.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

#: name and condition of each index
_INDEXES = (
    ("promise_ended", "origin = id AND settled_at IS NOT NULL AND timeout_at >= 0"),
    ("promise_kept", "retention IS NOT NULL AND settled_at IS NOT NULL"),
    ("promise_gone", "timeout_at < 0"),
)


def upgrade() -> None:
    op.add_column("promise", sa.Column("retention", sa.BigInteger(), nullable=True))
    for name, condition in _INDEXES:
        where = sa.text(condition)
        op.create_index(name, "promise", ["settled_at"], sqlite_where=where, postgresql_where=where)
