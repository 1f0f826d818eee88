"""What alembic runs to apply the migrations: over the connection that `upgrade` hands it."""

from alembic import context

from cloud.console.migrations import VERSIONS, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSIONS,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
