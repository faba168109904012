"""Slots have owners, and brokers addresses: several of them share a store over PostgreSQL."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# The table of writers comes last, because it is locked until the end, and brokers beat by it.
_STATEMENTS = """
create index promise_slot on promise (slot) where state = 'pending';
create index callback_slot on callback (slot);
create index listener_slot on listener (slot);
create index unblock_slot on unblock (slot);
create index schedule_slot on schedule (slot);
create table slot (
    slot integer primary key,
    writer bigint,
    epoch bigint not null default 0
) with (fillfactor = 50);
insert into slot (slot) select generate_series(0, 255);
alter table writer add column address text;
alter table writer add column joined boolean not null default true;
create index writer_living on writer (id) where not fenced
"""


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return  # A store in a file has one owner.
    for statement in _STATEMENTS.split(";"):
        op.get_bind().exec_driver_sql(statement)
