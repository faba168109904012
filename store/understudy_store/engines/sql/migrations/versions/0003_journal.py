"""Commits are numbered, and are in a journal before they are here."""

from alembic import op

from understudy_store.engines.sql.migrations import JOURNALED

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(JOURNALED)
