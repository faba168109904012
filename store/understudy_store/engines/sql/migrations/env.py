"""Entry point for alembic; it works on the caller's connection, within its transaction."""

from alembic import context

from understudy_store.engines.sql.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
)
context.run_migrations()
