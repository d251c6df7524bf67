"""A database from its copy: an SQLite file, or a dump in an empty PostgreSQL database.

A PostgreSQL database carries a mark until its restore is complete: no server opens a marked
database, and a repeated restore starts again in it.
"""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from haulback.contract.task_states import PLANNED
from haulback.errors import Conflict, Damaged, Malformed, Unavailable
from haulback.server.store import database_copy, tables, tasks
from haulback.server.store.engine import (
    RESTORING,
    Connection,
    Store,
    mapped,
    open_store,
    parse_url,
    sqlite_url,
)
from haulback.server.store.schema import known_schemas
from haulback.tasks.record import Task

_PIECE = 200  # tasks in one transaction
_OPEN = ("QUEUED", "RUNNING", PLANNED)


def check_schema(schema: str, by: str) -> None:
    """Raises Conflict for a copy of a newer schema; `by` is the version that made the copy."""
    if schema not in known_schemas():
        raise Conflict(
            f"Haulback {by} made the copy, and its database (schema {schema}) is newer than this "
            "version: install that Haulback, or a newer one, to restore it"
        )


def check_target(kind: str, url: str) -> None:
    """Raises Malformed if a copy of this kind cannot be restored into the database at `url`."""
    if kind == database_copy.SQLITE and url:
        raise Malformed(
            "--database: the copy is an SQLite file, which goes into --data; leave --database out",
            field="database",
        )
    if kind == database_copy.POSTGRESQL and not url:
        raise Malformed(
            "--database: the copy is of PostgreSQL; name an empty database, like "
            "postgresql://user@host/haulback",
            field="database",
        )


def check_file(file: Path) -> None:
    """Raises Damaged for an SQLite file that was damaged before its copy was made."""
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as plain:
        try:
            said = [row[0] for row in plain.execute("PRAGMA quick_check(1)")]
        except sqlite3.DatabaseError as error:
            said = [str(error)]
    if said != ["ok"]:
        raise Damaged(
            f"the copied database was damaged already ({said[0]}): restore an earlier backup, "
            "which --backup names"
        )


def opened(folder: Path, url: str) -> Store:
    """Open and migrate a restored database, which no server may open yet."""
    return open_store(url or sqlite_url(folder), restoring=True)


def load(url: str, dump: Path) -> None:
    """Restore a dump into an empty PostgreSQL database, or into one of an unfinished restore.

    All rows appear in one transaction.  Raises Conflict for a database with other contents; raises
    Unavailable if pg_restore is missing or fails.
    """
    engine = sa.create_engine(parse_url(url).set(drivername="postgresql+psycopg"))
    try:
        with mapped():
            schema, version = _emptied(engine)
        program = database_copy.fitting("pg_restore", version)
        how = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
        command = [program, *how, "--no-password", f"--schema={schema}"]
        done = subprocess.run(
            [*command, database_copy.connection(engine.url), str(dump)],
            env=database_copy.environment(engine.url),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"pg_restore cannot restore: {database_copy.last_line(done.stderr)}")
    finally:
        engine.dispose()


def _emptied(engine: sa.Engine) -> tuple[str, int]:
    """The name of the schema, which must be empty except for the mark, and the server's major
    version.
    """
    with engine.begin() as sql:
        schema = str(sql.scalar(sa.text("SELECT current_schema()")))
        held = set(sa.inspect(sql).get_table_names(schema))
        if held and RESTORING not in held:
            raise Conflict(
                f"--database: the schema {schema} holds tables already ({sorted(held)[0]}); name "
                "an empty database"
            )
        for name in sorted(held - {RESTORING}):
            sql.execute(sa.text(f'DROP TABLE "{schema}"."{name}" CASCADE'))
        sql.execute(sa.text(f"CREATE TABLE IF NOT EXISTS {RESTORING} (number INTEGER)"))
        return schema, database_copy.server_version(sql)


def finish(store: Store) -> None:
    """Remove the mark of an unfinished restore."""
    with store.write() as sql:
        sql.execute(sa.text(f"DROP TABLE IF EXISTS {RESTORING}"))


def give_up_unfinished(sql: Connection, why: str) -> None:
    """Fail the backups that were being made; no task deletes data of these backups that may be
    stored.

    A task may have stored such a backup after the copy was made: `gone` marks it as deleted, so
    that a clean-up that finds the backup does not know it and keeps it.
    """
    table = tables.backup
    undecided = table.c.status.in_(("QUEUED", "INPROGRESS", "PARTIAL_SUCCESS"))
    values = {"status": "FAILED", "status_info": why, "gone": True}
    sql.execute(sa.update(table).where(undecided).values(values))


def open_tasks(sql: Connection, after: str) -> list[Task]:
    """The tasks after a guid that have not ended, read in pieces."""
    table = tables.task
    query = sa.select(*tasks.COLUMNS).where(table.c.state.in_(_OPEN), table.c.guid > after)
    return [tasks.task_of(row) for row in sql.execute(query.order_by(table.c.guid).limit(_PIECE))]
