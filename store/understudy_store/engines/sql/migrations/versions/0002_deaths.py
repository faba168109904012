"""Tasks count how often their holder vanished, and keep how the last one did."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("promise", sa.Column("deaths", sa.BigInteger(), nullable=True))
    op.add_column("promise", sa.Column("cause", sa.Text(), nullable=True))
