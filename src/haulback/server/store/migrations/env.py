"""Alembic's environment: migrations run in the transaction of `open_store`."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
context.run_migrations()
