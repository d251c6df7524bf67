"""A real PostgreSQL for tests: one cluster per process, one database per test."""

import atexit
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from haulback.server.store.engine import Store, open_store

_DIALECTS: dict[str, sa.Dialect] = {}  # a compiled statement belongs to its dialect
_STATEMENTS: dict[Any, Any] = {}


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@contextmanager
def cluster(*, durable: bool = False) -> Iterator[str]:
    """A running server, without durability unless requested; yields the URL of its socket."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="haulback-postgres-"))
    user = "postgres" if os.getuid() == 0 else None  # PostgreSQL refuses to run as root
    if user:
        shutil.chown(folder, user)

    def call(program: str, *arguments: str) -> None:
        command = [programs / program, "-D", folder / "data", *arguments]
        subprocess.run(command, user=user, check=True, capture_output=True, cwd=folder)

    call("initdb", "-A", "trust", "-U", "haulback", "--no-sync")
    options = f"-k {folder} -c listen_addresses= -c max_connections=60"
    options += " -c shared_buffers=512MB" if durable else " -c fsync=off"
    call("pg_ctl", "start", "-w", "-l", str(folder / "log"), "-o", options)
    try:
        yield f"postgresql://haulback@/{{database}}?host={folder}"
    finally:
        call("pg_ctl", "stop", "-m", "immediate")
        shutil.rmtree(folder)


def new_database(cluster: str, name: str, template: str = "template1") -> str:
    """The URL of a fresh database, empty unless a template is given."""
    with psycopg.connect(cluster.format(database="postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return cluster.format(database=name)


def migrated_database(cluster: str, name: str) -> str:
    """The URL of a fresh database whose migrations ran once for all tests of this process."""
    return new_database(cluster, name, _migrated(cluster))


def migrated_file(path: Path) -> str:
    """The URL of a fresh SQLite database whose migrations ran once for all tests."""
    shutil.copy(_migrated_file(), path)
    return f"sqlite:///{path}"


def quick_store(url: str) -> Store:
    """An open store that need not survive a power failure, and that uses the SQL which other
    stores of this process compiled.

    A store has a cache of its own, so that each test would compile all its statements again.
    """
    store = open_store(url)
    engine = store.engine
    engine.dialect = _DIALECTS.setdefault(engine.dialect.name, engine.dialect)
    engine.update_execution_options(compiled_cache=_STATEMENTS)
    if store.is_sqlite:
        sa.event.listen(engine, "connect", _stop_syncing)
        engine.dispose()  # the next connection is the first one that does not sync
    return store


def _stop_syncing(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")


@cache
def _migrated(cluster: str) -> str:
    name = "migrated"
    open_store(new_database(cluster, name)).close()
    return name


@cache
def _migrated_file() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="haulback-migrated-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    open_store(f"sqlite:///{folder}/haulback.db").close()
    return folder / "haulback.db"
