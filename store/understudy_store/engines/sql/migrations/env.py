"""Run by alembic: the connection is the caller's, and so is the transaction."""

from alembic import context

from understudy_store.engines.sql.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
)
context.run_migrations()
