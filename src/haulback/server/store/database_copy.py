"""A consistent copy of the database in a file: SQLite's backup API, or pg_dump.

Writers continue meanwhile; the copy has the state of one moment.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import closing, suppress
from pathlib import Path
from threading import Event
from typing import NamedTuple

import sqlalchemy as sa

from haulback import credentials
from haulback.errors import OutOfSpace, Unavailable
from haulback.server.store.engine import Store, mapped
from haulback.server.store.schema import schema_of

SQLITE, POSTGRESQL = "SQLITE", "POSTGRESQL"
_PAGES = 1024  # pages of one step, 4 MiB, so that other threads run between two steps
_LOOK = 1.0  # seconds between two checks of a running copy
_RESERVE = 64 * 1024 * 1024  # bytes that the copy leaves free on the disk
_LOGIN = ("PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE")


class CopiedDatabase(NamedTuple):
    """The kind of the database, the name of its file in a copy, and the revision of its schema."""

    kind: str
    file: str
    schema: str


def about(store: Store) -> CopiedDatabase:
    """The kind of a database and the revision of its schema."""
    with store.read() as sql:
        schema = schema_of(sql)
    if store.is_sqlite:
        return CopiedDatabase(SQLITE, "haulback.db", schema)
    return CopiedDatabase(POSTGRESQL, "haulback.dump", schema)


def copy(store: Store, target: Path) -> Iterator[None]:
    """Write a copy of the database to a new file; yields at once, and then every second.

    The copy is complete when the iterator ends; closing the iterator stops the copy and removes the
    file.  Raises OutOfSpace, and Unavailable if pg_dump is missing, too old, or fails.
    """
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        yield from _sqlite(store, target) if store.is_sqlite else _dumped(store, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _sqlite(store: Store, target: Path) -> Iterator[None]:
    file = Path(str(store.engine.url.database)).absolute()
    size = file.stat().st_size
    free = shutil.disk_usage(target.parent).free
    if free < size + _RESERVE:
        raise OutOfSpace(
            f"the copy of the database needs {size} bytes below {target.parent}, but only "
            f"{free} are free; free some space there"
        )
    stop = Event()
    with ThreadPoolExecutor(1, thread_name_prefix="database-copy") as pool:
        copying = pool.submit(_copy_pages, file, target, stop)
        try:
            yield from _waiting(copying)
        finally:
            stop.set()


def _waiting(job: Future[None]) -> Iterator[None]:
    while True:
        yield
        with suppress(NotYet):
            return job.result(_LOOK)


class _Stopped(Exception):
    """The caller closed the copy."""


def _copy_pages(file: Path, target: Path, stop: Event) -> None:
    def look(*_: int) -> None:
        if stop.is_set():
            raise _Stopped

    with (
        suppress(_Stopped),
        mapped(),
        closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(target)) as copied,
    ):
        source.isolation_level = None
        # An open read transaction holds one snapshot: without it every commit of another connection
        # restarts the copy, and the copy of a busy database never ends.
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        copied.execute("PRAGMA synchronous=OFF")  # the copy is read once and then removed
        source.backup(copied, pages=_PAGES, progress=look, sleep=0)


def _dumped(store: Store, target: Path) -> Iterator[None]:
    with store.read() as sql:
        schema = str(sql.scalar(sa.text("SELECT current_schema()")))
        program = fitting("pg_dump", server_version(sql))
    # Without compression, equal rows of two copies are stored once.
    how = ["--format=custom", "--compress=0", "--no-owner", "--no-privileges", "--no-password"]
    command = [
        program,
        *how,
        f"--schema={schema}",
        f"--file={target}",
        connection(store.engine.url),
    ]
    with subprocess.Popen(
        command,
        env=environment(store.engine.url),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield from _running(process)
        finally:
            process.kill()


def _running(process: subprocess.Popen[str]) -> Iterator[None]:
    said = None
    while said is None:
        yield
        with suppress(subprocess.TimeoutExpired):
            _, said = process.communicate(timeout=_LOOK)
    if process.returncode:
        raise Unavailable(f"pg_dump cannot copy the database: {last_line(said)}")


def fitting(name: str, server: int) -> str:
    """The path of a client program that is at least as new as the server.  Raises Unavailable."""
    program = tool(name, server)
    version = major(program)
    if version < server:
        raise Unavailable(
            f"{program} has version {version}, and the database is PostgreSQL {server}: install "
            f"the client programs of PostgreSQL {server} or newer on this machine"
        )
    return program


def tool(name: str, version: int) -> str:
    """The path of a client program of PostgreSQL: of this version if installed, else the first on
    the PATH.

    Raises Unavailable.
    """
    own = Path(f"/usr/lib/postgresql/{version}/bin/{name}")
    program = str(own) if own.exists() else shutil.which(name)
    if program is None:
        raise Unavailable(
            f"{name} is not installed on this machine: install the client programs of PostgreSQL "
            f"{version} (package postgresql-client), which copy and restore the database"
        )
    return program


def major(program: str) -> int:
    """The major version of a client program.  Raises Unavailable."""
    call = subprocess.run(
        [program, "--version"],
        env=credentials.for_children(),
        capture_output=True,
        text=True,
        check=False,
    )
    version = re.search(r"\s(\d+)(?:\.\d+)*", call.stdout)
    if call.returncode or not version:
        raise Unavailable(f"{program} does not run: {last_line(call.stderr)}")
    return int(version[1])


def server_version(sql: sa.Connection) -> int:
    """The major version of a PostgreSQL server."""
    return int(sql.scalar(sa.text("SHOW server_version_num")) or 0) // 10_000


def connection(url: sa.URL) -> str:
    """The option that names the database to a client program, without the password."""
    query = {name: value for name, value in url.query.items() if name != "password"}
    plain = sa.URL.create("postgresql", url.username, None, url.host, url.port, url.database, query)
    return f"--dbname={plain.render_as_string(hide_password=False)}"


def environment(url: sa.URL) -> dict[str, str]:
    """The environment of a client program, the only child process that receives the database
    password.
    """
    own = {name: os.environ[name] for name in _LOGIN if name in os.environ}
    if password := url.password or url.query.get("password"):
        own["PGPASSWORD"] = str(password)
    return credentials.for_children(own)


def last_line(said: str) -> str:
    """The last line of a program's errors, which names the cause."""
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "the program printed no reason"
