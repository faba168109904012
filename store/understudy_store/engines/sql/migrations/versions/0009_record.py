"""The record: an attempt log, and what lists of root calls need.

Root calls that are there already get their functions and, where they failed with an exception that
is not sealed, its class. Nothing is known any more of when they began, or where.
"""

from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_CALLS = "function IS NOT NULL"
_FAILED = "state IN ('rejected', 'rejected_canceled', 'rejected_timedout')"
#: name, condition and columns of each index
_INDEXES = (
    ("call_created", _CALLS, ["created_at"]),
    ("call_function", _CALLS, ["function", "created_at"]),
    ("call_group", _CALLS, ["group_name", "created_at"]),
    ("call_live", "target IS NOT NULL AND origin = id AND state = 'pending'", ["created_at"]),
    ("call_failed", f"{_CALLS} AND {_FAILED}", ["settled_at"]),
)
#: failed calls whose ids are in memory at a time; of their values one is
_CHUNK_ROWS = 500


class _Error(msgspec.Struct):
    """The class of an encoded exception; all else in it is skipped, and nothing is loaded."""

    module: str = ""
    name: str = ""


_decode = msgspec.msgpack.Decoder(_Error).decode


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    # Texts are compared byte by byte, as SQLite does by itself.
    text = sa.Text(collation="C") if postgresql else sa.Text()
    for name in ("node", "started_at", "acquired_at", "queued_at", "suspensions", "logged"):
        kind = text if name == "node" else sa.BigInteger()
        op.add_column("promise", sa.Column(name, kind, nullable=True))
    for name in ("function", "error"):
        op.add_column("promise", sa.Column(name, text, nullable=True))
    _attempt(text)
    named = "param_headers::json ->> 'fn'" if postgresql else "json_extract(param_headers, '$.fn')"
    op.execute(
        f"UPDATE promise SET function = coalesce({named}, '') "
        "WHERE target IS NOT NULL AND origin = id"
    )
    _name_errors()
    for name, condition, columns in _INDEXES:
        where = sa.text(condition)
        op.create_index(name, "promise", columns, sqlite_where=where, postgresql_where=where)


def _attempt(text: sa.Text) -> None:
    op.create_table(
        "attempt",
        sa.Column("promise_id", text, nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("how", text, nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("node", text, nullable=True),
        sa.Column("host", text, nullable=True),
        sa.Column("queued_at", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("error", text, nullable=True),
        sa.Column("reason", text, nullable=True),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("promise_id", "n"),
        sqlite_with_rowid=False,
    )


def _name_errors() -> None:
    connection = op.get_bind()
    page = sa.text(
        "SELECT id FROM promise WHERE function IS NOT NULL AND state = 'rejected' AND id > :last "
        f"ORDER BY id LIMIT {_CHUNK_ROWS}"
    )
    value = sa.text("SELECT value_data FROM promise WHERE id = :id")
    write = sa.text("UPDATE promise SET error = :error WHERE id = :id")
    last = ""
    while ids := connection.execute(page, {"last": last}).scalars().all():
        named = []
        for id_ in ids:
            error = _class_of(connection.execute(value, {"id": id_}).scalar())
            if error:
                named.append({"id": id_, "error": error})
        if named:
            connection.execute(write, named)
        last = ids[-1]


def _class_of(data: Any) -> str:
    """Return the class that an encoded exception names; empty if it cannot be read."""
    try:
        error = _decode(bytes(data))
    except (TypeError, ValueError, msgspec.MsgspecError):
        return ""
    name = f"{error.module}.{error.name}".removeprefix("builtins.").strip(".")
    return "".join(char for char in name if char.isprintable())[-200:]
