"""The schema of the database: its known revisions, and their migration.

Alembic is imported only for a migration: with its template engine it takes 11 MB of memory, and a
server that starts on a database of its own version does not need it.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from haulback.errors import Conflict
from haulback.logs import members

log = logging.getLogger(__name__)
_MIGRATIONS = Path(__file__).parent / "migrations"
_REVISION = re.compile(r'^(revision|down_revision) = "(\w+)"$', re.MULTILINE)
_LOCK = 4861756  # the key of an advisory lock, which no other program may use in this database


@cache
def known_schemas() -> tuple[str, ...]:
    """The revisions of the schema that this Haulback knows, the newest first."""
    names = [dict(_REVISION.findall(path.read_text())) for path in _scripts()]
    before = {name["revision"]: name.get("down_revision") for name in names}
    [newest] = set(before) - set(before.values())
    chain: list[str] = []
    step: str | None = newest
    while step is not None:
        chain.append(step)
        step = before[step]
    return tuple(chain)


def schema_of(connection: sa.Connection) -> str:
    """The revision of a database's schema, empty for an empty database."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    return connection.scalar(sa.text("SELECT version_num FROM alembic_version")) or ""


def migrate_apart(engine: sa.Engine) -> None:
    """Migrate in a forked process that ends, so that the libraries do not stay in this process's
    memory.

    The caller has no other thread.  If the child fails, the database is unchanged, and this process
    tries the migration again to raise the error.  Raises the errors of `migrate`.
    """
    with engine.connect() as connection:
        is_newest = schema_of(connection) == known_schemas()[0]
    if not is_newest:
        engine.dispose()  # no connection is shared with the child
        child = os.fork()
        if child == 0:
            _migrate_and_end(engine)
        os.waitpid(child, 0)
    migrate(engine)


def _migrate_and_end(engine: sa.Engine) -> None:
    """End this process after the migration, without the clean-up that belongs to its parent."""
    try:
        migrate(engine)
        engine.dispose()  # closing SQLite's last connection moves its log into the file
    finally:
        os._exit(0)


def migrate(engine: sa.Engine) -> None:
    """Bring a database to the newest schema.  Raises Conflict for a schema of a newer Haulback."""
    known = known_schemas()
    newest = known[0]
    with engine.connect() as connection:
        connection = connection.execution_options(immediate=True)
        with connection.begin():
            _one_migrator(connection)
            now = schema_of(connection)
            if now and now not in known:
                raise Conflict(f"a newer Haulback wrote this database (schema {now}); upgrade")
            if now == newest:
                return
            log.info("database is migrated", extra=members(schema=newest, before=now or None))
            if now and engine.dialect.name == "sqlite":
                _copy(str(engine.url.database), f"{engine.url.database}.before-{newest}")
            _upgrade(connection)


def _scripts() -> list[Path]:
    return list((_MIGRATIONS / "versions").glob("[0-9]*.py"))


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _one_migrator(connection: sa.Connection) -> None:
    """Let one server migrate at a time; other servers wait until its transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def _copy(file: str, target: str) -> None:
    """Write a consistent copy of the file, so that an administrator can undo a migration.

    The copy holds sealed keys and password hashes, as the file does: only this user may read it.
    """
    handle = os.open(target, os.O_CREAT | os.O_WRONLY, 0o600)
    os.fchmod(handle, 0o600)  # a copy of an earlier version could be read by everyone
    os.close(handle)
    source, copy = sqlite3.connect(file), sqlite3.connect(target)
    with source, copy:
        source.backup(copy)
    source.close()
    copy.close()
