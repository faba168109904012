"""An index by which purges find the members of other brokers' call graphs.

Brokers of the revision before go on beside it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    where = sa.text(
        "origin <> id AND settled_at IS NOT NULL "
        "AND substr(id, 1, length(origin) + 1) <> origin || '.'"
    )
    op.create_index(
        "promise_stray",
        "promise",
        ["origin", "settled_at"],
        sqlite_where=where,
        postgresql_where=where,
    )
