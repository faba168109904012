"""Everything has the slot of its home: see `understudy_store.slots`."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from understudy_store.slots import slot_of

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return  # Stores over PostgreSQL begin with this revision.
    # Any, because only SQLite's driver takes functions.
    driver: Any = op.get_bind().connection.driver_connection
    driver.create_function("slot_of", 1, slot_of, deterministic=True)
    op.alter_column("promise", "shard", new_column_name="slot")
    op.execute("UPDATE promise SET slot = slot_of(id)")
    _pair("callback", "awaited", "awaiter")
    _pair("listener", "awaited", "address")
    _pair("unblock", "promise_id", "address")
    _schedule()


def _pair(name: str, first: str, second: str) -> None:
    # A column that may not be NULL can only be added with a default, and a row that was written
    # without its slot would then be in slot 0.
    op.rename_table(name, f"{name}_before")
    op.create_table(
        name,
        sa.Column(first, sa.Text(), nullable=False),
        sa.Column(second, sa.Text(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(first, second),
        sqlite_with_rowid=False,
    )
    op.execute(
        f"INSERT INTO {name} ({first}, {second}, slot) "
        f"SELECT {first}, {second}, slot_of({first}) FROM {name}_before ORDER BY 1, 2"
    )
    op.drop_table(f"{name}_before")


def _schedule() -> None:
    columns = (
        "id, cron, promise_id, promise_timeout, param_headers, param_data, promise_tags, "
        "next_run_at, created_at, last_run_at"
    )
    op.rename_table("schedule", "schedule_before")
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
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute(
        f"INSERT INTO schedule ({columns}, slot) SELECT {columns}, slot_of(id) FROM schedule_before"
    )
    op.drop_table("schedule_before")
