"""The file names the journal that may have commits that it lacks."""

from alembic import op

from understudy_store.engines.sql.migrations import NO_JOURNAL

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(NO_JOURNAL)
