"""Detached calls are found by the task that made them, for its preload."""

from alembic import op
from sqlalchemy import text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    made = text("branch IS NOT NULL AND origin = id")
    op.create_index("promise_detached", "promise", ["branch"], sqlite_where=made)
