"""Schedules have a plan, with their time zone and rules, and a course, with pauses."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Texts are compared byte by byte, as SQLite does by itself.
    collation = "C" if op.get_bind().dialect.name == "postgresql" else None
    for name in ("plan", "course"):
        op.add_column("schedule", sa.Column(name, sa.Text(collation=collation), nullable=True))
