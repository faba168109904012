"""Promises with their tasks, what they are owed, schedules."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _promise()
    _pair("callback", "awaited", "awaiter")
    _pair("listener", "awaited", "address")
    _pair("unblock", "promise_id", "address")
    op.create_table(
        "schedule",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("promise_id", sa.Text(), nullable=False),
        sa.Column("promise_timeout", sa.BigInteger(), nullable=False),
        sa.Column("param_headers", sa.Text(), nullable=False),
        sa.Column("param_data", sa.LargeBinary(), nullable=True),
        sa.Column("promise_tags", sa.Text(), nullable=False),
        sa.Column("next_run_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_run_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    meta = op.create_table(
        "meta",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.execute(meta.insert().values(key="now", value="0"))


def _promise() -> None:
    op.create_table(
        "promise",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("param_headers", sa.Text(), nullable=False),
        sa.Column("param_data", sa.LargeBinary(), nullable=True),
        sa.Column("value_headers", sa.Text(), nullable=False),
        sa.Column("value_data", sa.LargeBinary(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("timeout_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=True),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("group_name", sa.Text(), nullable=True),
        sa.Column("task_state", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=True),
        sa.Column("pid", sa.Text(), nullable=True),
        sa.Column("ttl", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("retry_at", sa.BigInteger(), nullable=True),
        sa.Column("resumes", sa.Text(), nullable=True),
        sa.Column("failures", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("promise_live", "promise", ["id"], sqlite_where=sa.text("state = 'pending'"))
    op.create_index("promise_graph", "promise", ["origin", "branch"])


def _pair(name: str, first: str, second: str) -> None:
    op.create_table(
        name,
        sa.Column(first, sa.Text(), nullable=False),
        sa.Column(second, sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(first, second),
        sqlite_with_rowid=False,
    )
