"""Runs the migrations on the connection that workers.ledger.opening hands over, inside its transaction."""

from alembic import context

from workers.ledger.tables import metadata

connection = context.config.attributes["connection"]
# SQLite alters a table by copying it (batch).
context.configure(connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite")
with context.begin_transaction():
    context.run_migrations()
