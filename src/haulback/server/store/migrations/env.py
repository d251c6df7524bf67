"""How Alembic runs our migrations: on the connection, and in the transaction, of `open_store`."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
context.run_migrations()
