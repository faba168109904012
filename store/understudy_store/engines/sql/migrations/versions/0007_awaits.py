"""A task names the promises of other slots that it waits for: see `machine.elsewhere`."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Texts are compared byte by byte, as SQLite does by itself.
    collation = "C" if op.get_bind().dialect.name == "postgresql" else None
    op.add_column("promise", sa.Column("awaits", sa.Text(collation=collation), nullable=True))
